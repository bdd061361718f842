"""Readers of event streams who come back: after each loss with the last id they have, after a gap with the snapshot.

Some stay as long as their connection does. Others are restless, as a telephone in a train is: they leave every few
seconds and resume, so that resuming is tried at every moment of a fault.
"""

import threading
import time
from dataclasses import dataclass, field

import h11
import httpx

from tests.chaos.verdict import Heard
from tests.support.api import FINAL, ApiClient, Json
from tests.support.streams import Event, EventStream, StreamRefused
from workspace.event_publisher import NO_EVENT

PAUSE = 0.3
"""Seconds until a reader comes back."""
LOOK = 0.5
"""Seconds after which a reader looks whether it may go."""
STAY = 2.0
"""Seconds that a restless reader stays."""

ENDS = {"run_completed": "completed", "run_failed": "failed", "run_cancelled": "cancelled"}


@dataclass
class Told:
    """What was told of one run."""

    ends: list[str] = field(default_factory=list)
    attempt: int = 0
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    has_hole: bool = False
    has_closed: bool = False
    """Whether the node itself told of the end, which it does together with the text's last piece."""

    def take(self, event: Event) -> None:
        """Take the next event of the run."""
        payload = event.payload
        match event.type:
            case "task_started":
                self._start(0)
                self.has_hole = False
            case "task_progress":
                if payload["attempt"] != self.attempt:
                    self._start(payload["attempt"])
                self.has_hole |= payload["offset"] != self.length
                self.pieces.append(payload["text"])
                self.length += len(payload["text"])
            case "task_completed":
                self.has_closed = True
            case "message_created" if payload["role"] == "assistant":
                # A lost last piece leaves no hole between two others, but the reply shows that it is missing.
                text = "".join(self.pieces)
                self.has_hole |= text != payload["content"] and payload["content"].startswith(text)
            case kind if kind in ENDS:
                self.ends.append(ENDS[kind])

    def _start(self, attempt: int) -> None:
        self.attempt = attempt
        self.pieces.clear()
        self.length = 0

    def heard(self) -> Heard:
        """Return what it comes to."""
        is_whole = self.has_closed and not self.has_hole
        return Heard(
            status=self.ends[-1] if self.ends else None,
            contradictions=tuple(sorted(set(self.ends) - set(self.ends[-1:]))),
            text="".join(self.pieces) if is_whole else None,
        )


class Reader:
    """Follows one session in a thread of its own, whatever happens to its connection."""

    def __init__(self, user: ApiClient, session_id: str, *, is_restless: bool = False) -> None:
        self._user = user
        self._is_restless = is_restless
        self._session_id = session_id
        self._told: dict[str, Told] = {}
        self._lock = threading.Lock()
        self._cursor: str | None = None
        self._is_behind = False
        self._leaving = threading.Event()
        self.is_open = threading.Event()
        self.gaps = 0
        self.losses = 0
        self.wrong: list[str] = []
        """What no fault excuses."""
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def heard(self) -> dict[str, Heard]:
        """Return what is known of each run by now."""
        with self._lock:
            return {run_id: told.heard() for run_id, told in self._told.items()}

    def leave(self) -> None:
        """Go."""
        self._leaving.set()

    def gone(self) -> None:
        """Wait until it has."""
        self._thread.join(30)

    def _follow(self) -> None:
        while not self._leaving.is_set():
            try:
                with self._user.events(self._session_id, cursor=self._place()) as stream:
                    self._read(stream)
            except StreamRefused as refused:
                if refused.status != 503:
                    self.wrong.append(f"a stream was answered with {refused}")
            except (OSError, h11.RemoteProtocolError, AssertionError):
                # Cut off, or silent: whatever it is, a reader comes back.
                self.losses += 1
            self._leaving.wait(PAUSE)

    def _place(self) -> str | None:
        """Return where to go on: live at first, then behind the last event, or at the beginning if none came yet."""
        return self._cursor or (NO_EVENT if self.is_open.is_set() else None)

    def _read(self, stream: EventStream) -> None:
        if self._cursor is None and self.is_open.is_set():
            # The beginning is the whole buffer, also if that was lost meanwhile: only the snapshot shows it.
            self._is_behind = True
        self.is_open.set()
        stays_until = time.monotonic() + (STAY if self._is_restless else float("inf"))
        while not self._leaving.is_set() and time.monotonic() < stays_until:
            if self._is_behind:
                self._catch_up()
            stream.pump(LOOK)
            for event in stream.arrived():
                self._take(event)
            if stream.ended:
                return

    def _take(self, event: Event) -> None:
        if event.type == "stream_gap":
            self.gaps += 1
            self._is_behind = True
            with self._lock:
                for told in self._told.values():
                    told.has_hole |= not told.ends
        if event.id is not None:
            if self._cursor is not None and _order(event.id) <= _order(self._cursor) and not self.gaps:
                self.wrong.append(f"event {event.id} came after {self._cursor}")
            self._cursor = event.id
        run_id = event.body.get("run_id")
        if run_id is not None:
            with self._lock:
                self._told.setdefault(run_id, Told()).take(event)

    def _catch_up(self) -> None:
        """Read the snapshot: what ended during the gap is learned from it, everything later is told."""
        try:
            runs = read_all(self._user, f"chat/{self._session_id}/runs/")
        except (httpx.TransportError, AssertionError):
            return  # the API is away as well: at the next look
        self._is_behind = False
        with self._lock:
            for run in runs:
                told = self._told.setdefault(run["id"], Told(has_hole=True))
                if run["status"] in FINAL:
                    told.ends.append(run["status"])


def _order(event_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in event_id.split("-"))


def read_all(user: ApiClient, path: str) -> list[Json]:
    """Read a list to its end."""
    items: list[Json] = []
    query: dict[str, object] = {"limit": 100}
    while True:
        answer = user.get(path, **query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query["cursor"] = page["next_cursor"]


def await_open(readers: list[Reader], within: float = 30.0) -> None:
    """Wait until every reader's stream is open: what is sent from then on, all of them must hear of."""
    deadline = time.monotonic() + within
    for reader in readers:
        assert reader.is_open.wait(max(deadline - time.monotonic(), 0.01)), "a stream did not open"
