"""The queue by which other processes ask the host of a workspace, and how a request gets onto it.

What lies on it is of use for a few seconds only, and nobody may be there to take it. So the broker forgets it by
itself, and keeps only the newest of what one workspace is asked.
"""

import time
from typing import Any

import structlog
from kombu.entity import Queue

from workspace.agent_bus import AT_ONCE, DIRECT
from workspace.names import WorkspaceKey

log = structlog.get_logger(__name__)

KEPT = 60
"""Seconds for which a queue that nobody consumes is kept after it was used last."""
MOST_WAITING = 64
"""Requests on one queue; of more, the oldest go."""


def requests_queue(key: WorkspaceKey) -> Queue:
    """Return the queue of a workspace's requests."""
    return Queue(
        key.requests_queue,
        DIRECT,
        routing_key=key.requests_queue,
        durable=True,
        expires=float(KEPT),
        max_length=MOST_WAITING,
    )


class RequestQueue:
    """Puts requests onto the queues of workspaces."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def put(self, key: WorkspaceKey, request: bytes, *, seconds: float) -> bool:
        """Send a request; returns whether the broker took it.

        Args:
            key: whose host is asked.
            request: what it is asked.
            seconds: after which the request is of no use.
        """
        queue = requests_queue(key)
        begun = time.monotonic()
        for is_last in (False, True):
            try:
                self._publish(queue, request, seconds)
            except Exception as error:  # the broker's client raises whatever its transport does
                # It may be a connection that the broker closed since its last use, or that remembers a queue which
                # is gone. To come twice harms no request.
                if is_last or time.monotonic() - begun > AT_ONCE:
                    log.warning("request_not_sent", queue=queue.name, error=repr(error))
                    return False
            else:
                return True
        raise AssertionError

    def _publish(self, queue: Queue, request: bytes, seconds: float) -> None:
        with self._app.producer_or_acquire() as producer:
            producer.publish(
                request,
                exchange=DIRECT,
                routing_key=queue.name,
                declare=[queue],
                retry=False,
                # Mandatory: RabbitMQ says so when the queue is not there, instead of dropping the message.
                mandatory=True,
                delivery_mode="transient",
                expiration=seconds,
                content_type="application/json",
                content_encoding="binary",
            )
            if producer.connection.transport.driver_type == "redis":
                # It knows of no bound; the list ends by the queue's `expires`.
                producer.channel.client.ltrim(queue.name, 0, MOST_WAITING - 1)
