"""The agent bus: the only sender of Celery messages. It sends by name, and a message carries ids alone."""

from typing import Any, Protocol
from uuid import UUID

import structlog
from kombu.entity import Exchange, Queue

from workspace.metrics import PUBLISH_FAILURES
from workspace.names import QueueName, TaskName, WorkspaceKey

log = structlog.get_logger(__name__)

DIRECT = Exchange("")
"""The default exchange: routing to a queue of the same name needs no binding, so nothing is lost with the broker."""


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
        return self._send(TaskName.RUN_AGENT_TASK, [str(task_id)], queue)

    def request_placement(self, key: WorkspaceKey) -> bool:
        """Ask any node to host a workspace; asking twice is harmless."""
        queue = agent_queue(QueueName.PLACEMENT)
        return self._send(TaskName.PLACE_WORKSPACE, [str(key.user_id), str(key.project_id)], queue, expires=60)

    def _send(self, name: TaskName, args: list[str], queue: Queue, **options: Any) -> bool:
        try:
            self._sender.send_task(name, args, queue=queue, retry=False, ignore_result=True, **options)
        except Exception as error:  # the broker's client raises whatever its transport does
            PUBLISH_FAILURES.inc()
            log.warning("task_not_sent", task=name, queue=queue.name, error=repr(error))
            return False
        return True
