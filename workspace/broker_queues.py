"""Queues as the broker has them: how long they are, asked by a passive declare, and their end."""

from typing import Any

import structlog

from workspace.agent_bus import agent_queue

log = structlog.get_logger(__name__)


class BrokerQueues:
    """Looks at queues without consuming them, and deletes those of agents that are gone."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def length(self, name: str) -> int:
        """Return how many messages wait on a queue; 0 for one that the broker does not know."""
        with self._app.connection_for_write() as connection, connection.channel() as channel:
            try:
                declared = agent_queue(name)(channel).queue_declare(passive=True)
            except connection.channel_errors:
                return 0
        # amqp answers (name, messages, consumers); so do kombu's virtual transports.
        return int(declared.message_count if hasattr(declared, "message_count") else declared)

    def delete(self, name: str) -> None:
        """Delete a queue with what is on it; a broker that is away keeps it, which costs memory alone."""
        try:
            with self._app.connection_for_write() as connection, connection.channel() as channel:
                agent_queue(name)(channel).delete()
        except Exception as error:  # the broker's client raises whatever its transport does
            log.warning("queue_not_deleted", queue=name, error=repr(error))
