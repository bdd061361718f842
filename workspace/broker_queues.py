"""How long queues are on the broker, asked the way that works on each: a passive declare."""

from typing import Any

from workspace.agent_bus import agent_queue


class BrokerQueues:
    """Looks at queues without consuming them."""

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
