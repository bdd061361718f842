"""The moves of a task, each one compare-and-set in one transaction: start, finish, and the release of what it held.

A start names the node and the epoch that host the workspace, and so does a finish: a node that lost the workspace
changes nothing. Whoever settles a run releases the next one of its session in the same transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Json, Task, new_id, utc_now
from models.statuses import CancelReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.approvals.closing import ClosedApproval, close_tasks
from workspace.events import Failure, Usage
from workspace.history import PastMessage
from workspace.ledger_statements import (
    CANCEL_REASON,
    END_RUN,
    HOLD_BACK,
    LOCK_USER,
    PROMOTE,
    REJOIN,
    RELEASE,
    REQUEUE,
    SETTLE,
    SETTLE_WITH_REPLY,
    START,
)
from workspace.names import WorkspaceKey


class Host(NamedTuple):
    """A node, and the epoch under which it hosts a workspace."""

    node_id: str
    epoch: int


class GivenResult(NamedTuple):
    """What a task of a plan is given: the result of one that it depends on."""

    plan_task_id: str
    agent_name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class StartedTask:
    """A task that this node works on."""

    id: UUID
    key: WorkspaceKey
    session_id: UUID
    run_id: UUID
    agent_id: UUID
    agent_name: str
    agent_version: int
    host: Host
    attempt: int
    started_at: datetime
    ran_seconds: float
    """Of its own running time before this start."""
    recalled: Json | None
    """What an earlier start showed the model of the agent's memory; null before the first turn with tools."""
    newest_messages: list[PastMessage]
    """Of the session up to this run, newest first."""
    plan_task_id: str | None = None
    """Its id in the plan of its run; null in a direct run."""
    instruction: str | None = None
    """What the plan asks its agent for; null in a direct run, and for what the orchestrator does itself."""
    given: tuple[GivenResult, ...] = ()
    """The results that the plan gives it, in the order of their tasks."""

    def running_seconds(self) -> float:
        """Return its own running time until now."""
        return self.ran_seconds + (utc_now() - self.started_at).total_seconds()


class QueuedTask(NamedTuple):
    """A task that is committed as `queued` and has to be sent."""

    id: UUID
    key: WorkspaceKey
    agent_name: str
    agent_id: UUID | None = None
    """Of a task of a plan: its queue may have no consumer yet. Null for the orchestrator's own."""


class HeldBack(NamedTuple):
    """A task that was not started: its user has as many at work as one may have."""

    run_id: UUID
    session_id: UUID
    agent_name: str


class Settled(NamedTuple):
    """What a finish wrote."""

    message_id: UUID | None
    next_task: QueuedTask | None
    crowded: bool
    """Whether tasks of the user may wait for the user-wide cap: `workspace.user_cap` has to look."""
    closed: tuple[ClosedApproval, ...] = ()
    """What was asked of the owner and is needed no more."""


_REJOINING = ("task", "agent", "host_node", "host_epoch")
_PROMOTING = ("task", "agent", "project", "now")


class Ledger:
    """Moves tasks and their runs."""

    def __init__(self, database: Database, *, history_messages: int, user_task_cap: int) -> None:
        self._database = database
        self._history_messages = history_messages
        self._user_task_cap = user_task_cap

    def start(
        self, task_id: UUID, key: WorkspaceKey, agent_id: UUID, host: Host, *, again: bool = False
    ) -> StartedTask | HeldBack | None:
        """Move a task `queued -> running` and read what it needs, or hold it back for the user-wide cap.

        The ids of the queue that the message came by are part of the comparison, so a message put on another queue
        starts nothing.

        Args:
            task_id: the task.
            key: of the queue that the message came by.
            agent_id: of that queue.
            host: this node, under its present claim.
            again: whether the answer to a start before this one was lost: it may have gone through, and then the task
                is this caller's, who holds the task's slot.

        Returns:
            The task; or that it was held back; or `None` when there is nothing to start: settled, taken, held, of
            another queue or gone.
        """
        started_at = utc_now()
        wanted = {
            "now": started_at,
            "task": task_id,
            "project": key.project_id,
            "agent": agent_id,
            "host_node": host.node_id,
            "host_epoch": host.epoch,
            "most_running": self._user_task_cap,
        }
        with self._database.tenant_session(key.user_id) as session:
            most = max(self._history_messages, 1)
            found: Any = LOCK_USER.execute(session, {"task": task_id, "most": most}).all()
            row, held = _begin_or_promote(session, wanted, again=again)
            given = _given(session, row.depends_on) if row is not None and row.depends_on else ()
            session.commit()
        if row is None:
            return held
        return StartedTask(
            id=task_id,
            key=key,
            session_id=row.session_id,
            run_id=row.run_id,
            agent_id=agent_id,
            agent_name=row.agent_name,
            agent_version=row.agent_version,
            host=host,
            attempt=row.attempts,
            started_at=started_at,
            ran_seconds=row.ran_seconds,
            recalled=row.recalled,
            newest_messages=[PastMessage(*message) for message in found],
            plan_task_id=row.plan_task_id,
            instruction=row.instruction,
            given=given,
        )

    def complete(self, task: StartedTask, text: str, usage: Usage) -> Settled | None:
        """Write the reply, the task's and the run's end, and release the session's next run: one transaction.

        Returns:
            What was written, or `None` if the task is no longer this node's: then nothing was.
        """
        return self._settle(task, TaskStatus.COMPLETED, RunStatus.COMPLETED, usage, text=text)

    def fail(self, task: StartedTask, failure: Failure, usage: Usage) -> Settled | None:
        """Write that the task and its run failed, and release the session's next run.

        Returns:
            As `complete`.
        """
        return self._settle(task, TaskStatus.FAILED, RunStatus.FAILED, usage, failure=failure)

    def cancel(self, task: StartedTask, failure: Failure, usage: Usage, *, text: str) -> Settled | None:
        """Write that the task and its run were cancelled, keep what the agent wrote so far, release the next run.

        Returns:
            As `complete`.
        """
        return self._settle(
            task, TaskStatus.CANCELLED, RunStatus.CANCELLED, usage, failure=failure, text=text if text else None
        )

    def _settle(
        self,
        task: StartedTask,
        task_status: TaskStatus,
        run_status: RunStatus,
        usage: Usage,
        *,
        failure: Failure | None = None,
        text: str | None = None,
    ) -> Settled | None:
        values = own(task) | {
            "task_status": task_status,
            "run_status": run_status,
            "now": utc_now(),
            "new_usage": usage.model_dump(mode="json"),
            "new_error": failure.model_dump(mode="json") if failure else None,
        }
        message_id = None
        statement = SETTLE
        if text is not None:
            message_id = new_id()
            statement = SETTLE_WITH_REPLY
            values |= {"reply": message_id, "speaker": MessageRole.ASSISTANT.value, "text": text}
        with self._database.tenant_session(task.key.user_id) as session:
            row = statement.execute(session, values).one_or_none()
            if row is None:
                return None
            # One that is complete has nothing open.
            closed = tuple(close_tasks(session, [task.id])) if failure else ()
            next_task = release_next(session, task.key, task.session_id)
            session.commit()
        # Tasks that start at this very moment are not counted yet: half of the cap leaves room for them.
        crowded = row.waits_for_cap or row.running * 2 >= self._user_task_cap
        return Settled(message_id, next_task, crowded, closed)

    def requeue(self, task: StartedTask) -> bool:
        """Put a task that wrote nothing yet back to `queued`, for whichever node hosts the workspace next.

        Returns:
            Whether it was; not if it is no longer this node's, or if its end was asked for meanwhile.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            if REQUEUE.execute(session, own(task) | {"ran": task.running_seconds()}).one_or_none() is None:
                return False
            # A cancel that waited for this statement finds the task queued; one that came before it is seen here.
            if CANCEL_REASON.execute(session, {"run": task.run_id}).one_or_none() is not None:
                return False
            session.commit()
        return True

    def cancel_reason(self, task: StartedTask) -> CancelReason | None:
        """Return why the end of a task's run was asked for, if it was."""
        with self._database.tenant_session(task.key.user_id) as session:
            return CANCEL_REASON.execute(session, {"run": task.run_id}).scalar_one_or_none()


def _begin_or_promote(session: Session, wanted: dict[str, Any], *, again: bool) -> tuple[Any, HeldBack | None]:
    """Start a task that is queued, or that the last part of its chord sent: then its row is as it was before that."""
    row, held = _begin(session, wanted, again=again)
    if row is None and held is None and _promote(session, wanted):
        return _begin(session, wanted, again=False)
    return row, held


def _begin(session: Session, wanted: dict[str, Any], *, again: bool) -> tuple[Any, HeldBack | None]:
    """Start a task that is queued, or find that it is the caller's already, or hold it back."""
    held_back = {name: value for name, value in wanted.items() if name != "now"}
    row: Any = START.execute(session, wanted).one_or_none()
    if row is None and again:
        row = REJOIN.execute(session, {name: wanted[name] for name in _REJOINING}).one_or_none()
    held = HOLD_BACK.execute(session, held_back).one_or_none() if row is None else None
    return row, HeldBack._make(held) if held else None


def _promote(session: Session, wanted: dict[str, Any]) -> bool:
    return PROMOTE.execute(session, {name: wanted[name] for name in _PROMOTING}).one_or_none() is not None


def _given(session: Session, depends_on: Sequence[UUID]) -> tuple[GivenResult, ...]:
    rows = session.execute(
        select(Task.plan_task_id, Task.agent_name, Task.result)
        .where(Task.id.in_(depends_on), Task.status == TaskStatus.COMPLETED)
        .order_by(Task.id)
    ).all()
    return tuple(GivenResult(name or "", agent, text or "") for name, agent, text in rows)


def own(task: StartedTask) -> dict[str, object]:
    """Return the parameters of a statement that a node may execute for its own task alone."""
    return {"task": task.id, "host_node": task.host.node_id, "host_epoch": task.host.epoch}


def settle_run(
    session: Session, run_id: UUID, status: RunStatus, *, usage: Json | None = None, error: Json | None = None
) -> RunMode | None:
    """Move an active run to its end; returns its mode, or `None` if it had ended before."""
    values = {"run": run_id, "run_status": status, "now": utc_now(), "new_usage": usage or {}, "new_error": error}
    row = END_RUN.execute(session, values).one_or_none()
    return row.mode if row else None


def release_next(session: Session, key: WorkspaceKey, session_id: UUID) -> QueuedTask | None:
    """Move the oldest task that its session held `held -> queued`, unless another one of the session is at work.

    To be called after the run before it was settled, in the same transaction.
    """
    row = RELEASE.execute(session, {"session": session_id, "now": utc_now()}).one_or_none()
    return QueuedTask(row.id, key, row.agent_name) if row else None
