"""Why a run is not finished, in one sentence and a code, from the rows at this moment."""

import time
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import ApprovalRequest, Run, Task, ToolCall, UserAgent, Workspace
from models.statuses import ApprovalStatus, HeldReason, TaskStatus, ToolCallStatus
from models.tenancy import Database
from workspace.agent_config import AgentConfig
from workspace.names import WorkspaceKey
from workspace.task_waits import TaskWaits


class WaitCode(StrEnum):
    """What a run waits for."""

    SESSION = "session"
    USER_CAP = "user_cap"
    NO_HOST = "no_host"
    AGENT_SLOT = "agent_slot"
    STARTING = "starting"
    MODEL = "model"
    MODEL_BACKOFF = "model_backoff"
    APPROVAL = "approval"
    CLIENT_TOOL = "client_tool"
    CANCELLING = "cancelling"


class Why(NamedTuple):
    """An explanation."""

    code: WaitCode
    detail: str
    agent_name: str | None = None
    queue_position: int | None = None
    """Tasks ahead of it on its agent's queue."""
    run_id: UUID | None = None
    """The run that it waits for."""
    retry_in: float | None = None
    """Seconds until the model is asked again."""
    approval_ids: tuple[UUID, ...] = ()
    """What its owner has to answer."""
    tool_call_ids: tuple[UUID, ...] = ()
    """What its owner's client has to carry out."""


class Explanations:
    """Explains runs, within one tenant at a time."""

    def __init__(self, database: Database, waits: TaskWaits, *, user_task_cap: int) -> None:
        self._database = database
        self._waits = waits
        self._user_task_cap = user_task_cap

    def why(self, key: WorkspaceKey, run: Run, tasks: list[Task]) -> Why | None:
        """Return what a run waits for; `None` when it has ended."""
        task = next((task for task in tasks if not task.status.is_final), None)
        if run.finished_at is not None or task is None:
            return None
        if run.cancel_requested_at is not None:
            return Why(WaitCode.CANCELLING, "Its end was asked for; the node that works on it is stopping.")
        return self._why(key, run, task)

    def _why(self, key: WorkspaceKey, run: Run, task: Task) -> Why:
        match task.status, task.held_reason:
            case TaskStatus.HELD, HeldReason.USER_CAP:
                return Why(
                    WaitCode.USER_CAP,
                    f"Waits for other tasks of yours: at most {self._user_task_cap} are at work at once.",
                    task.agent_name,
                )
            case TaskStatus.HELD, _:
                return self._session(key, run, task)
            case TaskStatus.QUEUED, _:
                return self._queued(key, task)
            case TaskStatus.WAITING, _:
                return self._parked(key, task)
            case _:
                return self._running(key, task)

    def _parked(self, key: WorkspaceKey, task: Task) -> Why:
        with self._database.tenant_session(key.user_id) as session:
            approvals = session.scalars(
                select(ApprovalRequest.id)
                .where(ApprovalRequest.task_id == task.id, ApprovalRequest.status == ApprovalStatus.PENDING)
                .order_by(ApprovalRequest.id)
            ).all()
            calls = session.scalars(
                select(ToolCall.id)
                .where(ToolCall.task_id == task.id, ToolCall.status == ToolCallStatus.RUNNING)
                .order_by(ToolCall.id)
            ).all()
        if approvals:
            return Why(
                WaitCode.APPROVAL,
                f"Agent {task.agent_name} waits for your answer to {len(approvals)} of its questions.",
                task.agent_name,
                approval_ids=tuple(approvals),
                tool_call_ids=tuple(calls),
            )
        return Why(
            WaitCode.CLIENT_TOOL,
            f"Agent {task.agent_name} waits for your client to carry out {len(calls)} of its tools.",
            task.agent_name,
            tool_call_ids=tuple(calls),
        )

    def _session(self, key: WorkspaceKey, run: Run, task: Task) -> Why:
        with self._database.tenant_session(key.user_id) as session:
            earlier = session.scalar(
                select(Run.id)
                .where(Run.session_id == run.session_id, Run.finished_at.is_(None), Run.id < run.id)
                .order_by(Run.id)
                .limit(1)
            )
        return Why(WaitCode.SESSION, "Waits for an earlier run of its session.", task.agent_name, run_id=earlier)

    def _queued(self, key: WorkspaceKey, task: Task) -> Why:
        with self._database.tenant_session(key.user_id) as session:
            host = session.scalar(select(Workspace.node_id).where(Workspace.project_id == key.project_id))
            if host is None:
                return Why(WaitCode.NO_HOST, "Waits for a node to host its workspace.", task.agent_name)
            ahead, running = _load(session, task)
            agent = session.scalars(select(UserAgent).where(UserAgent.id == task.agent_id)).one_or_none()
        limit = AgentConfig.model_validate(agent.config).concurrency_limit if agent else 0
        if ahead == 0 and running < limit:
            return Why(WaitCode.STARTING, "Its message is on the way to the node.", task.agent_name, 0)
        detail = (
            f"Waits for a slot of agent {task.agent_name}: {running} of {limit} at work, {ahead} ahead in its queue."
        )
        return Why(WaitCode.AGENT_SLOT, detail, task.agent_name, ahead)

    def _running(self, key: WorkspaceKey, task: Task) -> Why:
        wait = self._waits.read(key, task.id)
        if wait is None:
            return Why(WaitCode.MODEL, f"Agent {task.agent_name} is at work.", task.agent_name)
        seconds = max(wait.until - time.time(), 0.0)
        detail = f"The model did not answer ({wait.reason}); attempt {wait.attempt} begins in {seconds:.0f} s."
        return Why(WaitCode.MODEL_BACKOFF, detail, task.agent_name, retry_in=round(seconds, 1))


def _load(session: Session, task: Task) -> tuple[int, int]:
    """Return how many tasks are ahead of this one on its agent's queue, and how many the agent works on."""
    ahead = session.scalars(
        select(func.count(Task.id)).where(
            Task.agent_id == task.agent_id, Task.status == TaskStatus.QUEUED, Task.id < task.id
        )
    ).one()
    running = session.scalars(
        select(func.count(Task.id)).where(Task.agent_id == task.agent_id, Task.status == TaskStatus.RUNNING)
    ).one()
    return ahead, running
