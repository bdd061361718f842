"""The fan-out of a web process: one pub/sub connection, a bounded queue for each reader.

A slow reader is dropped with a `stream_gap` and never blocks another. After the connection to Redis was lost, each
session's buffer is read from the last event that came; where that is no longer there, its readers are told of a gap.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
import structlog

from api.streamed_events import Closed, Gap, Item, Reader, StreamedEvent, parse_id
from workspace.errors import TooManyStreams, Unavailable
from workspace.event_publisher import CLOSE_STREAM, NO_EVENT
from workspace.metrics import STREAM_LATENCY, STREAMS_ACTIVE, STREAMS_LOST

log = structlog.get_logger(__name__)

SUBSCRIBE_TIMEOUT: Final = 3.0
"""Seconds until a reader is told that events are out of reach."""
KEEP_ALIVE: Final = "web:keep-alive"
"""A channel that nobody publishes to: a subscribed connection can be listened to before the first reader comes."""

PAGE: Final = 50
"""Buffered events that are read at once: a buffer may be large, and many may ask for it."""


class BufferMovedOn(Exception):
    """The buffer lost events while they were being read."""


class _Channel:
    """One session's readers in this process."""

    def __init__(self) -> None:
        self.readers: set[Reader] = set()
        self.confirmed = threading.Event()
        self.last: str | None = None
        """The last event before or since it was subscribed to; unknown while Redis does not tell."""


class EventHub:
    """Brings the events of sessions to their readers."""

    def __init__(
        self,
        subscriber: redis.Redis,
        client: redis.Redis,
        *,
        queue_size: int,
        streams_per_user: int,
    ) -> None:
        self._subscriber = subscriber
        self._client = client
        self._queue_size = queue_size
        self._streams_per_user = streams_per_user
        self._channels: dict[str, _Channel] = {}
        self._streams: dict[object, int] = {}
        self._lock = threading.RLock()
        self._pubsub: Any = None
        self._thread: threading.Thread | None = None

    # -- readers ---------------------------------------------------------------------------------------------

    @contextmanager
    def reader(self, channel: str, owner: object) -> Iterator[Reader]:
        """Open a stream: when the block begins, every event published from now on reaches the reader.

        Raises:
            TooManyStreams: `owner` has its cap of streams open in this process.
            Unavailable: Redis is out of reach.
        """
        with self._counted(owner):
            reader = Reader(self._queue_size)
            self._join(channel, reader)
            STREAMS_ACTIVE.inc()
            try:
                yield reader
            finally:
                STREAMS_ACTIVE.dec()
                self._leave(channel, reader)

    @contextmanager
    def waiter(self, channel: str, owner: object) -> Iterator[Reader]:
        """Open a reader that is no stream: it is counted apart from its owner's streams, and begins unconfirmed.

        Until `hears` says so, events may pass it by.

        Raises:
            TooManyStreams: `owner` has as many of them open in this process as it may have streams.
        """
        with self._counted(("waiter", owner)):
            reader = Reader(self._queue_size)
            self._enter(channel, reader)
            try:
                yield reader
            finally:
                self._leave(channel, reader)

    def hears(self, name: str) -> bool:
        """Return whether what is published to a channel reaches its readers now, or will be read for them later."""
        channel = self._channels.get(name)
        return channel is not None and channel.confirmed.is_set() and self._pubsub is not None

    @contextmanager
    def _counted(self, owner: object) -> Iterator[None]:
        with self._lock:
            if self._streams.get(owner, 0) >= self._streams_per_user:
                raise TooManyStreams
            self._streams[owner] = self._streams.get(owner, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[owner] -= 1
                if not self._streams[owner]:
                    del self._streams[owner]

    def _enter(self, name: str, reader: Reader) -> _Channel:
        with self._lock:
            self._start()
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel()
                self._command(lambda pubsub: pubsub.subscribe(name))
            channel.readers.add(reader)
        return channel

    def _join(self, name: str, reader: Reader) -> None:
        channel = self._enter(name, reader)
        if not channel.confirmed.wait(SUBSCRIBE_TIMEOUT):
            self._leave(name, reader)
            raise Unavailable("Events are out of reach; the work itself goes on.")

    def _leave(self, name: str, reader: Reader) -> None:
        with self._lock:
            channel = self._channels.get(name)
            if channel is None:
                return
            channel.readers.discard(reader)
            if not channel.readers:
                del self._channels[name]
                self._command(lambda pubsub: pubsub.unsubscribe(name))

    def _command(self, command: Callable[[Any], None]) -> None:
        """Send a command; if the connection is lost, the listener subscribes to all channels when it is back."""
        if self._pubsub is None:
            return
        try:
            command(self._pubsub)
        except redis.RedisError as error:
            log.warning("hub_command_failed", error=repr(error))

    # -- the buffer ------------------------------------------------------------------------------------------

    def newest(self, channel: str) -> str:
        """Return the id of a session's last event, `0` if its buffer is empty.

        Raises:
            Unavailable: Redis is out of reach.
        """
        try:
            entries: Any = self._client.xrevrange(channel, count=1)
        except redis.RedisError as error:
            raise Unavailable from error
        return entries[0][0].decode() if entries else NO_EVENT

    def replay(self, channel: str, cursor: str) -> Iterator[list[StreamedEvent]] | None:
        """Return the buffered events after `cursor` by pages, or `None` where the buffer does not reach back to it.

        Raises:
            Unavailable: Redis is out of reach.
        """
        if cursor == NO_EVENT:
            return self._pages(channel)
        known = self._range(channel, cursor, 1)
        if not known or known[0].order != parse_id(cursor):
            return None
        return self._pages(channel, cursor)

    def _pages(self, channel: str, after: str | None = None) -> Iterator[list[StreamedEvent]]:
        """Yield page by page.

        Raises:
            BufferMovedOn: events that were to come next left the buffer before they were read.
        """
        page = self._range(channel, "-", PAGE) if after is None else []
        while page or after is not None:
            if page:
                yield page
                after = page[-1].id
            # Read from the last one on, it included: if it is gone, so may be others behind it.
            known = self._range(channel, str(after), PAGE + 1)
            if not known or known[0].id != after:
                raise BufferMovedOn
            page = known[1:]
            if not page:
                return

    def _range(self, channel: str, start: str, count: int) -> list[StreamedEvent]:
        try:
            entries: Any = self._client.xrange(channel, min=start, count=count)
        except redis.RedisError as error:
            raise Unavailable from error
        return [StreamedEvent(entry_id.decode(), fields[b"e"]) for entry_id, fields in entries]

    # -- the listener ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="event-hub", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                self._connect()
                while True:
                    message = self._pubsub.get_message(timeout=None)
                    if message is not None:
                        self._take(message)
            except redis.RedisError as error:
                log.warning("hub_connection_lost", error=repr(error))
                self._pubsub = None
                time.sleep(0.2)
            except Exception:
                log.exception("hub_failed")
                self._pubsub = None
                time.sleep(1.0)

    def _connect(self) -> None:
        """Subscribe to every channel anew, then bring what was published meanwhile."""
        pubsub = self._subscriber.pubsub()
        pubsub.subscribe(KEEP_ALIVE)
        with self._lock:
            self._pubsub = pubsub
            known = list(self._channels)
            if known:
                pubsub.subscribe(*known)

    def _take(self, message: dict[str, Any]) -> None:
        name = message["channel"].decode()
        channel = self._channels.get(name)
        if channel is None:
            return
        if message["type"] == "subscribe":
            if channel.confirmed.is_set():
                self._catch_up(name, channel)
            else:
                channel.last = self._newest_or_none(name)
            channel.confirmed.set()
        elif message["type"] == "message":
            self._deliver(channel, message["data"])

    def _deliver(self, channel: _Channel, data: bytes) -> None:
        if data == CLOSE_STREAM:
            self._offer(channel, Closed("session_closed"))
            return
        event_id, _, body = data.partition(b" ")
        event = StreamedEvent(event_id.decode(), body)
        channel.last = event.id
        STREAM_LATENCY.observe(max(0.0, time.time() - event.order[0] / 1000))
        self._offer(channel, event)

    def _catch_up(self, name: str, channel: _Channel) -> None:
        """Bring what was published while the connection was lost; readers drop what they have."""
        missed = self.replay(name, channel.last) if channel.last is not None else None
        if missed is None:
            channel.last = self._newest_or_none(name)
            self._offer(channel, Gap())
            return
        try:
            for page in missed:
                for event in page:
                    channel.last = event.id
                    self._offer(channel, event)
        except BufferMovedOn:
            channel.last = self._newest_or_none(name)
            self._offer(channel, Gap())

    def _newest_or_none(self, name: str) -> str | None:
        try:
            return self.newest(name)
        except Unavailable:
            return None

    def _offer(self, channel: _Channel, item: Item) -> None:
        for reader in tuple(channel.readers):
            reader.offer(item)
            if reader.lagging:
                STREAMS_LOST.labels("slow").inc()
                with self._lock:
                    channel.readers.discard(reader)
