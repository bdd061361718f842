"""Publishing: one Lua call stores events in the session's buffer and sends the same bytes to every web process."""

import time
from typing import NamedTuple

import redis
import structlog

from workspace.events import EventScope, Payload
from workspace.metrics import EVENTS_DROPPED, EVENTS_PUBLISHED, PUBLISH_SECONDS

log = structlog.get_logger(__name__)

NO_EVENT = "0"
"""The cursor before a session's first event."""

# KEYS[1]: buffer and channel. ARGV: length cap, seconds to live, then the events. The buffer's order is the channel's
# order, because a script runs alone. Returns the last id before these events, then their ids.
_PUBLISH = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local ids = { last[1] and last[1][1] or '0' }
for i = 3, #ARGV do
  local id = redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[1], '*', 'e', ARGV[i])
  redis.call('PUBLISH', KEYS[1], id .. ' ' .. ARGV[i])
  ids[#ids + 1] = id
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return ids
"""


class Published(NamedTuple):
    """Where events went."""

    cursor_before: str
    """The last event's id before these, `0` if there was none."""
    ids: tuple[str, ...]


class EventPublisher:
    """Publishes what happens in a session. A failure never reaches the work: rows are the truth, events tell of it."""

    def __init__(self, client: redis.Redis, *, buffer_size: int, buffer_ttl: int) -> None:
        self._client = client
        self._script = client.register_script(_PUBLISH)
        self._arguments = (buffer_size, buffer_ttl)

    def publish(self, scope: EventScope, *payloads: Payload) -> Published | None:
        """Publish `payloads` in order, as one step.

        Returns:
            Their ids, or `None` when Redis is out of reach: they are dropped, logged and counted.
        """
        events = [scope.event(payload) for payload in payloads]
        started = time.perf_counter()
        try:
            ids = self._script(keys=[scope.key.session_events(scope.session_id)], args=[*self._arguments, *events])
        except redis.RedisError as error:
            EVENTS_DROPPED.inc(len(payloads))
            log.warning("events_dropped", types=[p.event_type for p in payloads], error=repr(error))
            return None
        PUBLISH_SECONDS.observe(time.perf_counter() - started)
        EVENTS_PUBLISHED.inc(len(payloads))
        before, *rest = (value.decode() for value in ids)
        return Published(before, tuple(rest))

    def close_session(self, scope: EventScope) -> None:
        """End every open stream of a session that was deleted, and forget its events."""
        channel = scope.key.session_events(scope.session_id)
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.delete(channel)
                pipe.publish(channel, CLOSE_STREAM)
                pipe.execute()
        except redis.RedisError as error:
            log.warning("streams_not_closed", session_id=str(scope.session_id), error=repr(error))


CLOSE_STREAM = b"close"
"""The message that ends a session's streams; an event always starts with its id."""
