"""Parked tasks go on: the row moves first, in the transaction of what they waited for; then the message is sent."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Run, Task, ToolCall, Workspace, utc_now
from models.statuses import RunStatus, TaskStatus, ToolCallStatus
from workspace.agent_bus import AgentBus
from workspace.attachable import consumer_of
from workspace.broadcast import Broadcaster, Change
from workspace.ledger import QueuedTask
from workspace.names import WorkspaceKey
from workspace.plans.standing import stand

_OPEN = ToolCallStatus.active()


class Resumed(NamedTuple):
    """A task that was parked and is `queued` now; its message has to be sent."""

    task: QueuedTask
    consumer_id: UUID | None
    """Under which its host knows its queue."""
    has_host: bool


def lock_task(session: Session, task_id: UUID) -> Task | None:
    """Lock a task against its node and against other answers; `None` if it is gone.

    Whoever changes an approval or a tool call of a task takes this lock before.
    """
    return session.scalars(
        select(Task).where(Task.id == task_id).with_for_update(key_share=True).execution_options(populate_existing=True)
    ).one_or_none()


def resume_if_ready(session: Session, task: Task | None) -> Resumed | None:
    """Move a parked task `waiting -> queued` if there is something for it to do, in the caller's transaction.

    That is when one of its calls may run, or when none is open any more. The caller holds the task's lock and has
    flushed its changes.
    """
    if task is None or task.status is not TaskStatus.WAITING:
        return None
    calls = session.execute(
        select(ToolCall.status).where(ToolCall.task_id == task.id, ToolCall.status.in_(_OPEN))
    ).scalars()
    open_calls = list(calls)
    if open_calls and ToolCallStatus.REQUESTED not in open_calls:
        return None
    now = utc_now()
    task.status = TaskStatus.QUEUED
    task.sent_at = now
    task.send_count = 1  # a message that is lost now is missed as soon as the first one would have been
    session.flush()
    key = WorkspaceKey(task.user_id, task.project_id)
    if task.plan_task_id is not None:
        stand(session, key, task.run_id)
    else:
        session.execute(
            update(Run)
            .where(Run.id == task.run_id, Run.status == RunStatus.WAITING)
            .values(status=RunStatus.QUEUED)
            .execution_options(synchronize_session=False)
        )
    host = session.scalar(select(Workspace.node_id).where(Workspace.project_id == task.project_id))
    consumer = consumer_of(task.agent_id, task.agent_name, task.project_id)
    return Resumed(QueuedTask(task.id, key, task.agent_name), consumer, host is not None)


class Resumption:
    """Sends resumed tasks. What fails here, the sweeper sends and finds a host for."""

    def __init__(self, bus: AgentBus, broadcaster: Broadcaster) -> None:
        self._bus = bus
        self._broadcaster = broadcaster

    def send(self, resumed: Resumed | None) -> None:
        """Put a task on its agent's queue, and see that a node consumes that: it may have been let go meanwhile."""
        if resumed is None:
            return
        key = resumed.task.key
        self._bus.send_task_to_agent(key, resumed.task.agent_name, resumed.task.id)
        if not resumed.has_host:
            self._bus.request_placement(key)
        elif resumed.consumer_id is not None:
            self._broadcaster.tell(Change.AGENT_NEEDED, key, resumed.consumer_id)
