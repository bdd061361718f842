"""Why a run is not finished, in one sentence and a code, from the rows at this moment."""

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from models import ApprovalRequest, Run, Task, ToolCall, UserAgent, Workspace
from models.statuses import ApprovalStatus, HeldReason, TaskStatus, ToolCallStatus
from models.tenancy import Database
from workspace.agent_config import AgentConfig
from workspace.names import ORCHESTRATOR, ORCHESTRATOR_LIMIT, PLANNING_ID, WorkspaceKey
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
    PLANNING = "planning"
    DEPENDENCIES = "dependencies"


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
        unfinished = [task for task in tasks if not task.status.is_final]
        if run.finished_at is not None or not unfinished:
            return None
        if run.cancel_requested_at is not None:
            return Why(WaitCode.CANCELLING, "Its end was asked for; the node that works on it is stopping.")
        # Of several tasks, what their owner can do something about comes first: the answers of all that ask, together.
        if parked := [task for task in unfinished if task.status is TaskStatus.WAITING]:
            return self._parked(key, parked)
        first = min(unfinished, key=_urgency)
        return _pending(first, unfinished) if first.status is TaskStatus.PENDING else self._why(key, run, first)

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
            case _:
                return self._running(key, task)

    def _parked(self, key: WorkspaceKey, tasks: Sequence[Task]) -> Why:
        ids = [task.id for task in tasks]
        with self._database.tenant_session(key.user_id) as session:
            approvals = session.execute(
                select(ApprovalRequest.id, ApprovalRequest.task_id)
                .where(ApprovalRequest.task_id.in_(ids), ApprovalRequest.status == ApprovalStatus.PENDING)
                .order_by(ApprovalRequest.id)
            ).all()
            calls = session.execute(
                select(ToolCall.id, ToolCall.task_id)
                .where(ToolCall.task_id.in_(ids), ToolCall.status == ToolCallStatus.RUNNING)
                .order_by(ToolCall.id)
            ).all()
        of_whom: dict[UUID | None, str] = {task.id: task.agent_name for task in tasks}
        # Between an answer and the task that goes on with it, there is nothing open any more.
        agents = sorted({of_whom[row[1]] for row in approvals or calls}) or sorted(set(of_whom.values()))
        if approvals:
            asked = (
                "The orchestrator waits for your answer to its plan."
                if agents == [ORCHESTRATOR]
                else f"{_listed(agents)} for your answer to {len(approvals)} of {_whose(agents)} questions."
            )
            code = WaitCode.APPROVAL
        else:
            asked = f"{_listed(agents)} for your client to carry out {len(calls)} of {_whose(agents)} tools."
            code = WaitCode.CLIENT_TOOL
        return Why(
            code,
            asked,
            agents[0] if len(agents) == 1 else None,
            approval_ids=tuple(row[0] for row in approvals),
            tool_call_ids=tuple(row[0] for row in calls),
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
            limit = _limit(session, task)
        if ahead == 0 and running < limit:
            return Why(WaitCode.STARTING, "Its message is on the way to the node.", task.agent_name, 0)
        detail = f"Waits for a slot of {_called(task)}: {running} of {limit} at work, {ahead} ahead in its queue."
        return Why(WaitCode.AGENT_SLOT, detail, task.agent_name, ahead)

    def _running(self, key: WorkspaceKey, task: Task) -> Why:
        wait = self._waits.read(key, task.id)
        if wait is None and task.plan_task_id == PLANNING_ID:
            return Why(WaitCode.PLANNING, "The orchestrator plans who does what.", task.agent_name)
        if wait is None:
            return Why(WaitCode.MODEL, f"{_called(task).capitalize()} is at work.", task.agent_name)
        seconds = max(wait.until - time.time(), 0.0)
        detail = f"The model did not answer ({wait.reason}); attempt {wait.attempt} begins in {seconds:.0f} s."
        return Why(WaitCode.MODEL_BACKOFF, detail, task.agent_name, retry_in=round(seconds, 1))


_MOVING = (TaskStatus.HELD, TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.PENDING)


def _urgency(task: Task) -> int:
    """Return the place of a task that does not wait for a person among those that may explain its run: lowest first.

    What is held back or has no slot explains why a run is late; what is at work explains itself.
    """
    return _MOVING.index(task.status)


def _called(task: Task) -> str:
    return "the orchestrator" if task.agent_name == ORCHESTRATOR else f"agent {task.agent_name}"


def _pending(task: Task, unfinished: Sequence[Task]) -> Why:
    """Explain a run of which nothing moves: the next step is on its way, or the sweeper sends it again."""
    names = [other.plan_task_id or "" for other in unfinished if other.id in task.follows]
    waits = f"waits for {', '.join(names)}" if names else "is about to begin"
    return Why(WaitCode.DEPENDENCIES, f"Task {task.plan_task_id} {waits}.", task.agent_name)


def _listed(agents: Sequence[str]) -> str:
    return f"Agent {agents[0]} waits" if len(agents) == 1 else f"Agents {', '.join(agents)} wait"


def _whose(agents: Sequence[str]) -> str:
    return "its" if len(agents) == 1 else "their"


def _limit(session: Session, task: Task) -> int:
    if task.agent_name == ORCHESTRATOR:
        return ORCHESTRATOR_LIMIT
    agent = session.scalars(select(UserAgent).where(UserAgent.id == task.agent_id)).one_or_none()
    return AgentConfig.model_validate(agent.config).concurrency_limit if agent else 0


def _load(session: Session, task: Task) -> tuple[int, int]:
    """Return how many tasks are ahead of this one on its agent's queue, and how many the agent works on."""
    same_queue = and_(Task.project_id == task.project_id, Task.agent_name == task.agent_name)
    ahead = session.scalars(
        select(func.count(Task.id)).where(same_queue, Task.status == TaskStatus.QUEUED, Task.id < task.id)
    ).one()
    running = session.scalars(select(func.count(Task.id)).where(same_queue, Task.status == TaskStatus.RUNNING)).one()
    return ahead, running
