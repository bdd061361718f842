"""`Prefer: wait=N` (RFC 7240): the response to a message is held until its run has ended, or N seconds have passed.

The rows are the truth and events only say when to look: the run is read once after its session is listened to, again
with each event that may mean its end, and at the end of the time. While events are out of reach it is read every half
second instead. A wait is no event stream: it has a budget of its own beside the streams of its user.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from select import POLLIN, poll
from socket import MSG_PEEK
from typing import Any, Final
from uuid import UUID

import structlog
from flask import Response, current_app, request
from gevent.queue import Empty
from sqlalchemy.exc import SQLAlchemyError

from api.event_hub import EventHub
from api.http import account, key, web
from api.schemas.chat import AcceptedResponse, AnsweredResponse
from api.streamed_events import Reader, StreamedEvent
from api.turns import end_turn
from workspace.chat_store import Outcome
from workspace.errors import NotFound, TooManyStreams
from workspace.metrics import WAITS_ACTIVE

log = structlog.get_logger(__name__)

LOOK_AROUND: Final = 0.5
"""Seconds between two looks at the things that announce themselves to nobody: a client that left, a lost Redis."""

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WORD = rf'(?:{_NAME}|"(?:[^"\\]|\\.)*")'
_PAIR = rf"{_NAME}(?:[ \t]*=[ \t]*{_WORD})?"
_PREFERENCE = re.compile(
    rf"[ \t]*(?P<name>{_NAME})(?:[ \t]*=[ \t]*(?P<value>{_WORD}))?(?:[ \t]*;(?:[ \t]*{_PAIR})?)*[ \t]*(?:,|$)"
)


def preferred_wait(headers: Iterable[str]) -> int | None:
    """Return the seconds that `Prefer` headers ask to wait; `None` where they do not, or not in a form that counts.

    The first `wait` counts, later ones are ignored. What follows a mistake is not read.
    """
    for header in headers:
        for name, value in _preferences(header):
            if name.lower() == "wait":
                return int(value) if re.fullmatch("[0-9]{1,9}", value) and int(value) > 0 else None
    return None


def _preferences(header: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(header):
        found = _PREFERENCE.match(header, place)
        if found is None:
            return
        yield found["name"], (found["value"] or "").strip('"')
        place = found.end()


def answer_or_accept(accepted: AcceptedResponse, session_id: UUID) -> Response:
    """Return the response to a message that was accepted: 200 with its answer if its sender waits and it comes, or 202.

    A session that is deleted meanwhile, a database that is away and a client that has gone end the wait with 202, too:
    the message is accepted all the same. So does a user who has too many waits open; then none is applied.
    """
    wanted = preferred_wait(request.headers.getlist("Prefer"))
    if wanted is None:
        return _respond(accepted, 202)
    seconds = min(wanted, web().settings.wait_limit)
    try:
        outcome = _Wait(session_id, accepted.run_id).outcome(seconds)
    except TooManyStreams:
        log.warning("wait_refused", run_id=str(accepted.run_id))
        return _respond(accepted, 202)
    if outcome is None:
        return _respond(accepted, 202, applied=seconds)
    return _respond(AnsweredResponse.of(accepted, outcome), 200, applied=seconds)


def _respond(body: AcceptedResponse, status: int, *, applied: int | None = None) -> Response:
    response = Response(body.model_dump_json(), status, mimetype="application/json")
    if applied is not None:
        response.headers["Preference-Applied"] = f"wait={applied}"
    return response


class _Wait:
    """One request that waits for one run."""

    def __init__(self, session_id: UUID, run_id: UUID) -> None:
        self._hub: EventHub = current_app.extensions["codelab-hub"]
        self._key = key()
        self._channel = self._key.session_events(session_id)
        self._run_id = run_id
        self._client = request.environ.get("gunicorn.socket")

    def outcome(self, seconds: float) -> Outcome | None:
        """Wait for the run's end; `None`: it did not come, or nobody waits any more.

        Raises:
            TooManyStreams: the user has too many waits open.
        """
        deadline = time.monotonic() + seconds
        end_turn()
        with _counted(), self._hub.waiter(self._channel, account().user_id) as reader:
            try:
                return self._wait(reader, deadline)
            except NotFound:  # it was deleted
                return None

    def _wait(self, reader: Reader, deadline: float) -> Outcome | None:
        is_told_of_all = False
        is_told = True
        while True:
            # What happens after this line is told, or the next round sees that it may not have been.
            was_told_of_all, is_told_of_all = is_told_of_all, self._hub.hears(self._channel) and not reader.lagging
            left = deadline - time.monotonic()
            if is_told or left <= 0 or not (was_told_of_all and is_told_of_all):
                outcome = self._read()
                if outcome is not None or left <= 0:
                    return outcome
            if _is_gone(self._client):
                return None
            is_told = self._is_told(reader, min(left, LOOK_AROUND))

    def _read(self) -> Outcome | None:
        try:
            return web().chats.outcome(self._key, self._run_id)
        except SQLAlchemyError as error:  # the message is accepted, so this is no failure of the request
            log.warning("wait_without_database", run_id=str(self._run_id), error=repr(error))
            return None

    def _is_told(self, reader: Reader, seconds: float) -> bool:
        """Wait for something that may mean the end of the run; returns whether it came in time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                item = reader.queue.get(timeout=left)
            except Empty:
                return False
            # A gap may have swallowed the end; a closed session has no run any more.
            if not isinstance(item, StreamedEvent) or item.ends(self._run_id):
                return True
        return False


@contextmanager
def _counted() -> Iterator[None]:
    WAITS_ACTIVE.inc()
    try:
        yield
    finally:
        WAITS_ACTIVE.dec()


def _is_gone(connection: Any) -> bool:
    """Return whether the client has closed its connection: it can be read, and there is nothing to read."""
    if connection is None:
        return False
    waiting = poll()
    try:
        waiting.register(connection.fileno(), POLLIN)
        return bool(waiting.poll(0)) and connection.recv(1, MSG_PEEK) == b""
    except OSError:  # it was reset
        return True
    except ValueError:  # it is encrypted here, and cannot be looked into
        return False
