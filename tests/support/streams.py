"""A reader of event streams: one connection, both wire formats, a deadline for each wait.

It works on the socket itself (h11 takes HTTP apart), because a test must be able to wait for nothing to come and then
go on, to stop reading, and to hold hundreds of streams at once: no HTTP client offers that.
"""

import json
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import h11

from tests.support.waiting import PATIENCE

CHUNK = 65_536

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One event as it came."""

    body: Json
    """The whole envelope, `id` included."""

    @property
    def id(self) -> str | None:
        """The cursor that names it; `None` for events of one stream alone."""
        event_id: str | None = self.body["id"]
        return event_id

    @property
    def type(self) -> str:
        """Its event type."""
        return str(self.body["event_type"])

    @property
    def payload(self) -> Json:
        """What depends on its type."""
        payload: Json = self.body["payload"]
        return payload


class StreamRefused(AssertionError):
    """The server answered with something else than a stream."""

    def __init__(self, status: int, headers: dict[str, str], body: Json) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.headers = headers
        self.body = body


class EventStream:
    """An open stream."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._http = h11.Connection(h11.CLIENT)
        self._text = b""
        self._waiting: deque[Event] = deque()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False
        """Whether the server has ended the stream, and ended it properly."""

    @classmethod
    def open(cls, url: str, headers: dict[str, str], *, receive_buffer: int | None = None) -> Self:
        """Open a stream; returns once its headers are there.

        Raises:
            StreamRefused: the status is not 200.
        """
        parts = urlsplit(url)
        connection = socket.socket()
        try:
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(PATIENCE)
            connection.connect((parts.hostname, parts.port))
            stream = cls(connection)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            stream._ask(target, {"Host": parts.netloc, **headers})
        except BaseException:
            connection.close()
            raise
        return stream

    def _ask(self, target: str, headers: dict[str, str]) -> None:
        request = h11.Request(method="GET", target=target, headers=list(headers.items()))
        self._socket.sendall(self._http.send(request) + self._http.send(h11.EndOfMessage()))
        while not self.status:
            assert self.pump(PATIENCE), "no answer came"
        if self.status != 200:
            while not self.ended:
                assert self.pump(PATIENCE), "the answer did not end"
            raise StreamRefused(self.status, self.headers, json.loads(self._text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    # -- reading ---------------------------------------------------------------------------------------------

    def next(self, *, within: float = PATIENCE) -> Event:
        """Return the next event.

        Raises:
            AssertionError: none came in time, or the stream has ended.
        """
        deadline = time.monotonic() + within
        while not self._waiting:
            assert not self.ended, "the stream has ended"
            left = deadline - time.monotonic()
            assert left > 0, f"no event within {within:.1f} s"
            self.pump(left)
        return self._waiting.popleft()

    def take(self, count: int, *, within: float = PATIENCE) -> list[Event]:
        """Return the next `count` events."""
        deadline = time.monotonic() + within
        return [self.next(within=max(deadline - time.monotonic(), 0.001)) for _ in range(count)]

    def until(self, *types: str, within: float = PATIENCE) -> list[Event]:
        """Return all events up to the first of one of these types, that one included; heartbeats are left out."""
        deadline = time.monotonic() + within
        seen: list[Event] = []
        while not seen or seen[-1].type not in types:
            event = self.next(within=max(deadline - time.monotonic(), 0.001))
            if event.type != "heartbeat" or "heartbeat" in types:
                seen.append(event)
        return seen

    def rest(self, *, within: float = PATIENCE) -> list[Event]:
        """Return everything until the server ends the stream."""
        deadline = time.monotonic() + within
        while not self.ended:
            left = deadline - time.monotonic()
            assert left > 0, f"the stream did not end within {within:.1f} s"
            self.pump(left)
        events = list(self._waiting)
        self._waiting.clear()
        return events

    def arrived(self) -> list[Event]:
        """Return what is there already."""
        events = list(self._waiting)
        self._waiting.clear()
        return events

    def pump(self, seconds: float) -> bool:
        """Wait for the next bytes and take them apart; returns whether any came."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            data = self._socket.recv(CHUNK)
        except TimeoutError:
            return False
        self._http.receive_data(data)
        while True:
            part = self._http.next_event()
            if part is h11.NEED_DATA or part is h11.PAUSED:
                return True
            self._take(part)
            if self.ended:
                return True

    def _take(self, part: Any) -> None:
        match part:
            case h11.Response():
                self.status = part.status_code
                self.headers = {name.decode(): value.decode() for name, value in part.headers}
            case h11.Data():
                self._text += bytes(part.data)
                if self.status == 200:
                    self._split()
            case h11.EndOfMessage():
                self.ended = True
                assert self.status != 200 or not self._text, f"the stream ended in the middle of {self._text!r}"
            case _:
                raise AssertionError(f"the connection was lost: {part}")

    def _split(self) -> None:
        is_sse = self.headers["content-type"].startswith("text/event-stream")
        *complete, self._text = self._text.split(b"\n\n" if is_sse else b"\n")
        parse = _of_sse if is_sse else _of_line
        self._waiting.extend(parse(frame) for frame in complete)


def _of_line(line: bytes) -> Event:
    return Event(json.loads(line))


def _of_sse(frame: bytes) -> Event:
    """Read a server-sent event as a browser does, and hold its fields to what its data say."""
    fields: dict[str, str] = {}
    for line in frame.decode().split("\n"):
        name, _, value = line.partition(": ")
        assert name in {"id", "event", "data"}, frame
        assert name not in fields, frame
        fields[name] = value
    body = json.loads(fields["data"])
    assert fields.get("id") == body["id"], frame
    assert fields["event"] == body["event_type"], frame
    return Event(body)


def pump_all(streams: Iterable[EventStream], until: Callable[[], bool], *, within: float = PATIENCE) -> None:
    """Read many streams side by side until `until` says that it is enough.

    Raises:
        AssertionError: it was not enough in time.
    """
    deadline = time.monotonic() + within
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ, stream)
        while not until():
            assert time.monotonic() < deadline, f"the streams did not bring it within {within:.0f} s"
            for ready, _ in selector.select(timeout=0.1):
                ready.data.pump(0.001)
                if ready.data.ended:
                    selector.unregister(ready.data)
