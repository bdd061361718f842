"""The channels of a node's agents, spread over connections: RabbitMQ allows 2047 channels on one by default.

The first thousand are on the worker's own connection. Further connections are of the same app and read by the same
event loop; the loss of any of them is the loss of all, so that one reconnect, with one set of rules, mends everything.
On Redis one connection is enough: each of its channels has sockets of its own.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog
from kombu.common import ignore_errors

log = structlog.get_logger(__name__)

CHANNELS_PER_CONNECTION = 1_000
RESERVED = 20
"""Channels that Celery may need for itself, where the broker allows fewer."""
HEARTBEAT_RATE = 2
RETRY_AFTER = 5.0
"""Seconds until a further connection is tried again, after the broker refused one."""


class NoConnection(Exception):
    """The broker allows no further connection, so no more agents can be consumed."""


class _Home:
    """A connection with the channels that are open on it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.channels: set[Any] = set()

    def has_room(self) -> bool:
        allowed: int = self.connection.connection.channel_max - RESERVED
        return len(self.channels) < min(CHANNELS_PER_CONNECTION, allowed)


class _FurtherConnection(_Home):
    """A connection beside the worker's own, which its event loop reads."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker.app.connection_for_read(heartbeat=worker.amqheartbeat))
        self.connection.connect()
        self._hub = worker.hub
        self._timer = worker.timer
        self._socket = self.connection.connection.sock
        self.connection.transport.register_with_event_loop(self.connection.connection, self._hub)
        self._heartbeat = None
        interval = self.connection.get_heartbeat_interval()
        if interval:
            self._heartbeat = self._timer.call_repeatedly(
                interval / HEARTBEAT_RATE, self.connection.heartbeat_check, (HEARTBEAT_RATE,)
            )

    def close(self) -> None:
        """Close it without asking the broker, which may not answer."""
        if self._heartbeat is not None:
            self._timer.cancel(self._heartbeat)
        self._hub.remove(self._socket)
        self.connection.collect()


class ChannelPool:
    """Opens channels on the connections of one life of the worker's consumer. Used on its event loop alone."""

    def __init__(self, worker: Any, *, further: Callable[[Any], _FurtherConnection] = _FurtherConnection) -> None:
        self._worker = worker
        self._make_further = further
        self._own = _Home(worker.connection)
        self._further: list[_FurtherConnection] = []
        self._refused_at: float | None = None

    def open(self) -> Any:
        """Open a channel where there is room.

        Raises:
            NoConnection: there is none, and the broker allows no further connection.
        """
        home = self._home()
        channel = home.connection.channel()
        home.channels.add(channel)
        return channel

    def release(self, channel: Any) -> None:
        """Close a channel."""
        for home in self._homes():
            home.channels.discard(channel)
        channel.close()

    def close(self) -> None:
        """Close the further connections; the worker closes its own."""
        for home in self._further:
            ignore_errors(home.connection, home.close)
        self._further.clear()

    def _homes(self) -> list[_Home]:
        return [self._own, *self._further]

    def _home(self) -> _Home:
        if self._worker.connection.transport.driver_type != "amqp":
            return self._own
        for home in self._homes():
            if home.has_room():
                return home
        if self._refused_at is not None and time.monotonic() - self._refused_at < RETRY_AFTER:
            raise NoConnection
        try:
            home = self._make_further(self._worker)
        except self._worker.connection_errors as error:
            self._refused_at = time.monotonic()
            raise NoConnection from error
        self._further.append(home)
        log.info("broker_connection_opened", connections=len(self._homes()))
        return home
