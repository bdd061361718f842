"""The Celery tasks. Each is a doorbell: it takes ids, finds the service, calls one method, and may ring twice."""

from typing import Any
from uuid import UUID

import structlog
from celery import Task, shared_task
from celery.exceptions import Reject

from workspace.names import TaskName, WorkspaceKey

log = structlog.get_logger(__name__)


@shared_task(name=TaskName.RUN_AGENT_TASK, bind=True)
def run_agent_task(self: Task, task_id: str) -> None:
    """Run one task of the agent on whose queue the message came.

    Raises:
        Reject: every slot of the agent is taken; the message goes back to its queue.
    """
    queue = self.request.delivery_info["routing_key"]
    if not self.app.node.run_task(UUID(task_id), queue, self.request.id):
        raise Reject(f"no slot free on {queue}", requeue=True)


@shared_task(name=TaskName.ARRIVE)
def arrive() -> None:
    """Be a part of a chord: what counts is that it came. Celery counts it when it ends."""


@shared_task(name=TaskName.PLACE_WORKSPACE, bind=True)
def place_workspace(self: Task, user_id: str, project_id: str) -> None:
    """Host a workspace that nobody hosts."""
    self.app.node.host(WorkspaceKey(UUID(user_id), UUID(project_id)))


@shared_task(name=TaskName.REMOVE_FILES, bind=True)
def remove_files(self: Task, user_id: str, project_id: str) -> None:
    """Remove the files of a project that was deleted."""
    self.app.node.remove_files(WorkspaceKey(UUID(user_id), UUID(project_id)))


@shared_task(name=TaskName.REMOVE_MEMORY, bind=True)
def remove_memory(self: Task, user_id: str, project_id: str) -> None:
    """Remove what deleted agents of a project remembered."""
    self.app.node.remove_memory(WorkspaceKey(UUID(user_id), UUID(project_id)))


@shared_task(name=TaskName.SWEEP, bind=True)
def sweep(self: Task) -> dict[str, Any]:
    """Send what was lost, end what was left behind."""
    return dict(self.app.node.sweep())
