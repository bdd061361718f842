"""The bootstep that ties what a node consumes to the life of its worker's consumer.

The consumer starts again after each lost connection to the broker, and with it every channel.
"""

from typing import Any

from celery import bootsteps
from celery.worker.consumer.events import Events
from celery.worker.consumer.tasks import Tasks

EVENT_INTERVAL = 1.0
"""Seconds between two sendings of task events."""
EVENT_BATCH = 500
"""Task events that are sent at once, at the latest when so many wait."""


class AgentQueuesStep(bootsteps.StartStopStep):
    """Opens and closes the channels of agents' queues and of workspaces' requests."""

    requires = (Tasks, Events)

    def start(self, c: Any) -> None:
        """Open the channels: the first time, and after each reconnect."""
        node = c.app.node
        node.queues.connected(c)
        node.requests.connected(c, node.queues.channels)
        _send_events_together(c)

    def stop(self, c: Any) -> None:
        """Stop taking work. The channels close with their connection, which returns what was not started."""
        if c.blueprint.state != bootsteps.RUN:
            # It is no reconnect. `celery control shutdown` and Flower send no signal that the node would hear.
            c.app.node.begin_shutdown()
        c.app.node.queues.disconnected()
        c.app.node.requests.disconnected()

    def shutdown(self, c: Any) -> None:
        """Close what acknowledgements were still needed for."""
        c.app.node.queues.release_connections()


def _send_events_together(c: Any) -> None:
    """Send Flower's task events once a second: Celery would at each turn of the loop, three messages a task."""
    dispatcher = c.event_dispatcher
    if dispatcher is None:
        return
    dispatcher.on_send_buffered = None
    dispatcher.buffer_limit = EVENT_BATCH
    c.timer.call_repeatedly(EVENT_INTERVAL, dispatcher.flush, kwargs={"errors": False})
