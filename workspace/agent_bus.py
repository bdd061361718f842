"""The agent bus: the only sender of Celery messages. It sends by name, and a message carries ids alone."""

import math
import time
from typing import Any, Protocol
from uuid import UUID

import structlog
from kombu.entity import Exchange, Queue

from workspace.metrics import PUBLISH_FAILURES
from workspace.names import QueueName, TaskName, WorkspaceKey

log = structlog.get_logger(__name__)

DIRECT = Exchange("")
"""The default exchange: routing to a queue of the same name needs no binding, so nothing is lost with the broker."""


AT_ONCE = 0.1
"""Seconds. A failure as quick as that is worth one more try: it is often a connection that the broker closed since its
last use, or that remembers a queue which is gone. A new one, which the next try gets, knows neither."""


class Sender(Protocol):
    """The part of a Celery app that sends."""

    def send_task(self, name: str, args: list[str], **options: Any) -> Any:
        """Publish one message."""


def agent_queue(name: str) -> Queue:
    """Return the durable queue of that name on the default exchange."""
    return Queue(name, DIRECT, routing_key=name, durable=True)


class AgentBus:
    """Sends tasks to their agents' queues and asks nodes for workspaces."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def send_task_to_agent(self, key: WorkspaceKey, agent_name: str, task_id: UUID) -> bool:
        """Publish a task that is committed as `queued`.

        Returns:
            Whether the broker took it. If not, the row stays and the sweeper sends it.
        """
        queue = agent_queue(key.agent_queue(agent_name))
        return self.send(TaskName.RUN_AGENT_TASK, [str(task_id)], queue)

    def request_placement(self, key: WorkspaceKey) -> bool:
        """Ask any node to host a workspace; asking twice is harmless."""
        queue = agent_queue(QueueName.PLACEMENT)
        return self.send(TaskName.PLACE_WORKSPACE, [str(key.user_id), str(key.project_id)], queue, expires=60)

    def request_removal(self, key: WorkspaceKey) -> bool:
        """Ask any node to remove the files of a project that was deleted; if nobody hears it, they are found later."""
        queue = agent_queue(QueueName.MAINTENANCE)
        return self.send(TaskName.REMOVE_FILES, [str(key.user_id), str(key.project_id)], queue)

    def request_memory_removal(self, key: WorkspaceKey) -> bool:
        """Ask any node to remove what deleted agents remembered; if nobody hears it, it is found later."""
        queue = agent_queue(QueueName.MAINTENANCE)
        return self.send(TaskName.REMOVE_MEMORY, [str(key.user_id), str(key.project_id)], queue)

    def send(self, name: TaskName, args: list[str], queue: Queue, **options: Any) -> bool:
        """Publish a message of any kind; returns whether the broker took it."""
        begun = time.monotonic()
        while True:
            try:
                # Mandatory: RabbitMQ says so when the queue is not there, instead of dropping the message. It may be
                # gone although this connection has declared it: it was deleted with an agent of the same name.
                self._sender.send_task(
                    name, args, queue=queue, retry=False, ignore_result=True, mandatory=True, **options
                )
            except Exception as error:  # the broker's client raises whatever its transport does
                took, begun = time.monotonic() - begun, -math.inf
                if took < AT_ONCE:
                    continue
                PUBLISH_FAILURES.inc()
                log.warning("task_not_sent", task=name, queue=queue.name, error=repr(error))
                return False
            return True
