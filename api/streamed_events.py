"""What readers of a stream get, and the bounded queue that each of them has."""

import re
from functools import cached_property
from typing import Final
from uuid import UUID

from gevent.queue import Full, Queue

from workspace.events import EventType, with_id

HEAD: Final = 140
"""Bytes of an event that tells of a run's end in which its type and its run are named: they are of fixed length."""
_ENDS = tuple(
    f'{{"event_type":"{kind}"'.encode()
    for kind in (EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELLED)
)

EventId = tuple[int, int]
_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


def parse_id(text: str) -> EventId:
    """Return an event's id as numbers that compare; `0` is the one before all.

    Raises:
        ValueError: it is no id.
    """
    if not _ID.fullmatch(text):
        raise ValueError(text)
    milliseconds, _, sequence = text.partition("-")
    value = int(milliseconds), int(sequence or 0)
    if max(value) >= 2**64:
        raise ValueError(text)
    return value


class StreamedEvent:
    """An event on its way to readers; each wire format is made once for all of them."""

    def __init__(self, event_id: str, body: bytes) -> None:
        self.id = event_id
        self.order = parse_id(event_id)
        self._body = body

    def ends(self, run_id: UUID) -> bool:
        """Return whether it tells of the end of this run; its head is enough to know."""
        head = self._body[:HEAD]
        return head.startswith(_ENDS) and b'"run_id":"%s"' % str(run_id).encode() in head

    @cached_property
    def ndjson(self) -> bytes:
        """One line of JSON."""
        return with_id(self.id, self._body) + b"\n"

    @cached_property
    def sse(self) -> bytes:
        """One server-sent event."""
        return as_sse(self.id, self._body)


def as_sse(event_id: str | None, body: bytes) -> bytes:
    """Return an event as a server-sent one; without an id the client's cursor stays where it is."""
    event_type = body[15 : body.index(b'"', 15)]  # after {"event_type":"
    head = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
    return head + b"event: " + event_type + b"\ndata: " + with_id(event_id, body) + b"\n\n"


class Closed:
    """Told to a reader instead of an event: the stream ends, for this reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Gap:
    """Told to a reader instead of an event: some were missed, live ones follow."""


Item = StreamedEvent | Closed | Gap


class Reader:
    """One open stream."""

    def __init__(self, size: int) -> None:
        self.queue: Queue[Item] = Queue(maxsize=size)
        self.lagging = False

    def offer(self, item: Item) -> None:
        """Put an item on the queue; a reader whose queue is full is marked, and takes no more."""
        if self.lagging:
            return
        try:
            self.queue.put_nowait(item)
        except Full:
            self.lagging = True
