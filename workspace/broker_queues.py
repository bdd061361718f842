"""Queues as the broker has them: how long they are, asked by a passive declare, and their end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from workspace.agent_bus import AT_ONCE, agent_queue

log = structlog.get_logger(__name__)


class BrokerQueues:
    """Looks at queues without consuming them, and deletes those of agents that are gone."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def length(self, name: str) -> int:
        """Return how many messages wait on a queue; 0 for one that the broker does not know."""
        with self._app.connection_or_acquire() as connection, _channel(connection) as channel:
            try:
                declared = agent_queue(name)(channel).queue_declare(passive=True)
            except connection.channel_errors:
                return 0
        # amqp answers (name, messages, consumers); so do kombu's virtual transports.
        return int(declared.message_count if hasattr(declared, "message_count") else declared)

    def delete(self, name: str) -> None:
        """Delete a queue with what is on it; a broker that is away keeps it, which costs memory alone."""
        try:
            with self._app.connection_or_acquire() as connection, _channel(connection) as channel:
                queue = agent_queue(name)(channel)
                queue.delete()
                if connection.transport.driver_type == "redis":
                    queue.purge()  # there, kombu deletes what is bound to an exchange, and nothing here is
        except Exception as error:  # the broker's client raises whatever its transport does
            log.warning("queue_not_deleted", queue=name, error=repr(error))


@contextmanager
def _channel(connection: Any) -> Iterator[Any]:
    """Open a channel of one's own: RabbitMQ closes the one on which an unknown queue is asked for."""
    begun = time.monotonic()
    try:
        channel = _open(connection)
    except connection.recoverable_connection_errors:
        if time.monotonic() - begun > AT_ONCE:
            raise
        connection.collect()
        channel = _open(connection)
    try:
        yield channel
    finally:
        channel.close()


def _open(connection: Any) -> Any:
    connection.ensure_connection(max_retries=1, interval_start=0, timeout=AT_ONCE)
    return connection.channel()
