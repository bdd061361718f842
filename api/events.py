"""`chat/{sid}/events/`: what happens in a session, as it happens; NDJSON or server-sent events by `Accept`."""

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Final
from uuid import UUID

import structlog
from flask import Flask, Response, current_app, g, request, stream_with_context
from gevent.queue import Empty
from pydantic import Field

from api.event_hub import BufferMovedOn, EventHub
from api.http import Resource, account, key, project_url, web
from api.limits import STREAMS, limited
from api.schemas.common import RequestModel
from api.streamed_events import Closed, EventId, Gap, Item, Reader, StreamedEvent, as_sse, parse_id
from api.streaming import NDJSON, bound_writes
from workspace.errors import ErrorCode, InvalidInput, NotFound, Unavailable
from workspace.event_publisher import NO_EVENT
from workspace.events import Event, Heartbeat, Payload, StreamError, StreamGap, encode, with_id
from workspace.metrics import (
    STREAM_BACKLOG,
    STREAM_BUFFER_FILL,
    STREAM_EVENTS_SENT,
    STREAM_GAPS,
    STREAMS_LOST,
    STREAMS_OPENED,
)

log = structlog.get_logger(__name__)

events = Resource("events")

SSE: Final = "text/event-stream"
BATCH: Final = 200
"""Events written at once to a reader that lags behind."""


class EventQuery(RequestModel):
    """Where to begin."""

    last_event_id: str | None = Field(
        None,
        max_length=41,
        description="the last event that was seen; `0`: the whole buffer; none: live only. "
        "The `Last-Event-ID` header, which a browser sends when it reconnects, wins.",
    )


def init_events(app: Flask, hub: EventHub) -> None:
    """Give the streams their hub."""
    app.extensions["codelab-hub"] = hub


@events.on("GET", "/chat/<uuid:session_id>/events/", answers=Event)
@limited(STREAMS)
def stream_events(session_id: UUID, query: EventQuery) -> Response:
    """Stream a session's events: NDJSON, or server-sent events if `Accept` asks for `text/event-stream`.

    Each line is an event with its `id` in front. `heartbeat` and `stream_gap` have the id null. Where the cursor is no
    longer in the buffer, `stream_gap` names the URL of the snapshot and live events follow.
    """
    cursor = _cursor(query)
    if not web().chats.exists(key(), session_id):
        raise NotFound
    wire = request.accept_mimetypes.best_match([NDJSON, SSE], default=NDJSON)
    bound_writes()
    stream = _Stream(session_id, sse=wire == SSE)
    body = stream.open(cursor)
    STREAMS_OPENED.labels("sse" if wire == SSE else "ndjson").inc()
    return Response(
        stream_with_context(body),
        content_type=f"{wire}; charset=utf-8",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
    )


def _cursor(query: EventQuery) -> str | None:
    cursor = request.headers.get("Last-Event-ID") or query.last_event_id
    if cursor is None:
        return None
    try:
        order = parse_id(cursor)
    except ValueError as error:
        raise InvalidInput("The cursor is no event's id.") from error
    return NO_EVENT if order == (0, 0) else cursor


class _Stream:
    """One reader's stream, from its first byte to its end."""

    def __init__(self, session_id: UUID, *, sse: bool) -> None:
        self._hub: EventHub = current_app.extensions["codelab-hub"]
        self._session_id = session_id
        self._channel = key().session_events(session_id)
        self._owner = account().user_id
        self._sse = sse
        self._snapshot_url = f"{project_url()}/chat/{session_id}/messages/"
        self._expires_at = g.identity.expires_at.timestamp()
        self._heartbeat = web().settings.heartbeat_interval
        self._seen: EventId = (0, 0)

    def open(self, cursor: str | None) -> Iterator[bytes]:
        """Return the body. The stream is joined and the buffer read before it returns, so that errors are answers."""
        frames = self._frames(cursor)
        first = next(frames)  # joins, reads, and gives the first frame
        return _Body(first, frames)

    def _frames(self, cursor: str | None) -> Iterator[bytes]:
        sent = 0
        reason = "client"
        log.info("stream_opened", session_id=str(self._session_id), cursor=cursor, sse=self._sse)
        try:
            with self._hub.reader(self._channel, self._owner) as reader:
                for frame, count in self._all(reader, cursor):
                    sent += count
                    STREAM_EVENTS_SENT.inc(count)
                    yield frame
                reason = "server"
        finally:
            log.info("stream_closed", session_id=str(self._session_id), sent=sent, by=reason)

    def _all(self, reader: Reader, cursor: str | None) -> Iterator[tuple[bytes, int]]:
        """Yield frames with the number of events in each."""
        if not web().chats.exists(key(), self._session_id):
            raise NotFound  # it was deleted before this reader could be told of its end
        replayed = self._start(cursor)
        # The first frame tells the client that it is subscribed, and makes proxies pass the headers on.
        yield self._own(Heartbeat()), 0
        if replayed is None:
            STREAM_GAPS.labels("cursor").inc()
            yield self._own(StreamGap(snapshot_url=self._snapshot_url, reason="cursor_not_in_buffer")), 0
        else:
            yield from self._replay(replayed)
        yield from self._live(reader)

    def _replay(self, pages: Iterator[list[StreamedEvent]]) -> Iterator[tuple[bytes, int]]:
        count = 0
        try:
            for page in pages:
                count += len(page)
                yield self._join(page), len(page)
        except Unavailable:
            yield self._gap("connection_lost"), 0
        except BufferMovedOn:
            yield self._gap("slow_reader"), 0
        STREAM_BUFFER_FILL.observe(count)

    def _start(self, cursor: str | None) -> Iterator[list[StreamedEvent]] | None:
        if cursor is None:
            self._seen = parse_id(self._hub.newest(self._channel))
            return iter(())
        replayed = self._hub.replay(self._channel, cursor)
        if replayed is None:
            self._seen = parse_id(self._hub.newest(self._channel))
        elif cursor != NO_EVENT:
            self._seen = parse_id(cursor)
        return replayed

    def _live(self, reader: Reader) -> Iterator[tuple[bytes, int]]:
        while True:
            left = self._expires_at - time.time()
            if left <= 0:
                STREAMS_LOST.labels("expired").inc()
                yield self._own(StreamError(error_code=ErrorCode.UNAUTHORIZED, detail="The token expired.")), 0
                return
            items = _take(reader, timeout=min(self._heartbeat, left))
            if len(items) == 1 and isinstance(items[0], StreamedEvent) and not reader.lagging:
                # Nearly always; with a thousand readers each step here is a millisecond for the last of them.
                if items[0].order > self._seen:
                    self._seen = items[0].order
                    yield items[0].sse if self._sse else items[0].ndjson, 1
                continue
            yield from self._tell(items, quiet=left <= self._heartbeat)
            if any(isinstance(item, Closed) for item in items):
                return
            if reader.lagging and reader.queue.empty():
                yield self._gap("slow_reader"), 0
                return

    def _tell(self, items: list[Item], *, quiet: bool) -> Iterator[tuple[bytes, int]]:
        """Yield what `items` say, a heartbeat if there are none and the wait was not cut short."""
        if not items and not quiet:
            yield self._own(Heartbeat()), 0
        for is_event, group in groupby(items, key=lambda item: isinstance(item, StreamedEvent)):
            if is_event:
                yield from self._news([item for item in group if isinstance(item, StreamedEvent)])
            elif any(isinstance(item, Gap) for item in group):
                yield self._gap("connection_lost"), 0

    def _news(self, events: list[StreamedEvent]) -> Iterator[tuple[bytes, int]]:
        news = [event for event in events if event.order > self._seen]
        if news:
            STREAM_BACKLOG.observe(len(news))
            yield self._join(news), len(news)

    def _gap(self, reason: str) -> bytes:
        STREAM_GAPS.labels(reason).inc()
        return self._own(StreamGap(snapshot_url=self._snapshot_url, reason=reason))

    def _join(self, news: list[StreamedEvent]) -> bytes:
        self._seen = news[-1].order
        return b"".join([event.sse if self._sse else event.ndjson for event in news])

    def _own(self, payload: Payload) -> bytes:
        """Return an event of this stream alone: it has no id, because no cursor can name it."""
        body = encode(self._session_id, None, None, payload)
        return as_sse(None, body) if self._sse else with_id(None, body) + b"\n"


def _take(reader: Reader, *, timeout: float) -> list[Item]:
    """Wait for the next item and return it with those behind it; nothing came: an empty list."""
    try:
        items = [reader.queue.get(timeout=timeout)]
    except Empty:
        return []
    while len(items) < BATCH and not reader.queue.empty():
        items.append(reader.queue.get_nowait())
    return items


class _Body:
    """The frames with their first one put back in front; closing it closes the stream."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return first if first is not None else next(self._rest)

    def close(self) -> None:
        """Leave the hub, also if the client went before the second frame."""
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()
