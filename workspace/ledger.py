"""The moves of a task, each one compare-and-set in one transaction: start, finish, and the release of what it held.

A start names the node and the epoch that host the workspace, and so does a finish: a node that lost the workspace
changes nothing. Whoever settles a run releases the next one of its session in the same transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import String, Text, and_, bindparam, cast, func, insert, or_, select, update
from sqlalchemy.orm import Session

from models import Json, Message, Run, Task, User, Workspace, new_id, utc_now
from models.statuses import CancelReason, HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from models.tenant_statement import TenantStatement, table_of, tenant
from workspace.events import Failure, Usage
from workspace.history import PastMessage
from workspace.names import WorkspaceKey
from workspace.user_work import RUNNING, WAITS_FOR_CAP


class Host(NamedTuple):
    """A node, and the epoch under which it hosts a workspace."""

    node_id: str
    epoch: int


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
    newest_messages: list[PastMessage]
    """Of the session up to this run, newest first."""


class QueuedTask(NamedTuple):
    """A task that is committed as `queued` and has to be sent."""

    id: UUID
    key: WorkspaceKey
    agent_name: str


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


# The statements that run with each message are Core, and built and checked once.

_runs, _tasks, _users = table_of(Run), table_of(Task), table_of(User)
_messages, _workspaces = table_of(Message), table_of(Workspace)

_hosted = (
    select(_workspaces.c.epoch)
    .where(
        _workspaces.c.user_id == tenant(),
        _workspaces.c.project_id == _tasks.c.project_id,
        _workspaces.c.node_id == bindparam("host_node"),
        _workspaces.c.epoch == bindparam("host_epoch"),
    )
    .exists()
)

# The first statement of a start locks the user's row, so that the second counts what runs without a race; it reads the
# conversation on the way, which costs no round trip of its own. The conversation is that of the task's run.
_wanted = _tasks.alias("wanted")


def _of_task(column: Any) -> Any:
    return select(column).where(_wanted.c.user_id == tenant(), _wanted.c.id == bindparam("task")).scalar_subquery()


_LOCK_USER = TenantStatement(
    select(_messages.c.role, _messages.c.content)
    .select_from(_users.join(_messages, _messages.c.user_id == _users.c.id))
    .where(
        _users.c.id == tenant(),
        _messages.c.user_id == tenant(),
        _messages.c.session_id == _of_task(_wanted.c.session_id),
        _messages.c.run_id <= _of_task(_wanted.c.run_id),
    )
    .order_by(_messages.c.run_id.desc(), _messages.c.id.desc())
    .limit(bindparam("most"))
    .with_for_update(key_share=True, of=_users)
)

_startable = (
    _tasks.c.user_id == tenant(),
    _tasks.c.id == bindparam("task"),
    _tasks.c.project_id == bindparam("project"),
    _tasks.c.agent_id == bindparam("agent"),
    _tasks.c.status == TaskStatus.QUEUED,
    _hosted,
)
_started_task = (
    update(_tasks)
    .where(*_startable, bindparam("most_running") > RUNNING)
    .values(
        status=TaskStatus.RUNNING,
        node_id=bindparam("host_node"),
        epoch=bindparam("host_epoch"),
        started_at=bindparam("now"),
        attempts=_tasks.c.attempts + 1,
    )
    .returning(_tasks.c.session_id, _tasks.c.run_id, _tasks.c.agent_name, _tasks.c.agent_version, _tasks.c.attempts)
    .cte("started_task")
)
_started_run = (
    update(_runs)
    .where(
        _runs.c.user_id == tenant(),
        _runs.c.id == _started_task.c.run_id,
        _runs.c.status == RunStatus.QUEUED,
    )
    .values(status=RunStatus.RUNNING, started_at=func.coalesce(_runs.c.started_at, bindparam("now")))
    .returning(_runs.c.id)
    .cte("started_run")
)
_START = TenantStatement(select(_started_task).add_cte(_started_run))

_REJOIN = TenantStatement(
    select(_tasks.c.session_id, _tasks.c.run_id, _tasks.c.agent_name, _tasks.c.agent_version, _tasks.c.attempts).where(
        _tasks.c.user_id == tenant(),
        _tasks.c.id == bindparam("task"),
        _tasks.c.agent_id == bindparam("agent"),
        _tasks.c.status == TaskStatus.RUNNING,
        _tasks.c.node_id == bindparam("host_node"),
        _tasks.c.epoch == bindparam("host_epoch"),
    )
)

_HOLD_BACK = TenantStatement(
    update(_tasks)
    .where(*_startable, bindparam("most_running") <= RUNNING)
    .values(status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP, sent_at=None)
    .returning(_tasks.c.run_id, _tasks.c.session_id, _tasks.c.agent_name)
)

_own_task = (
    _tasks.c.user_id == tenant(),
    _tasks.c.id == bindparam("task"),
    _tasks.c.status == TaskStatus.RUNNING,
    _tasks.c.node_id == bindparam("host_node"),
    _tasks.c.epoch == bindparam("host_epoch"),
    _hosted,
)
_end: dict[str, Any] = {
    "finished_at": bindparam("now"),
    "usage": bindparam("new_usage"),
    "error": bindparam("new_error"),
}

_ended_task = (
    update(_tasks)
    .where(*_own_task)
    .values(status=bindparam("task_status"), **_end)
    .returning(_tasks.c.run_id, _tasks.c.session_id, _tasks.c.project_id, _tasks.c.agent_id, _tasks.c.agent_name)
    .cte("ended_task")
)
_ended_run = (
    update(_runs)
    .where(_runs.c.user_id == tenant(), _runs.c.id == _ended_task.c.run_id, _runs.c.finished_at.is_(None))
    .values(status=bindparam("run_status"), **_end)
    .returning(_runs.c.id)
    .cte("ended_run")
)
_reply = (
    insert(_messages)
    .from_select(
        [
            "user_id",
            "id",
            "project_id",
            "session_id",
            "run_id",
            "role",
            "content",
            "agent_id",
            "agent_name",
            "created_at",
        ],
        select(
            cast(tenant(), _messages.c.user_id.type),
            cast(bindparam("reply"), _messages.c.id.type),
            _ended_task.c.project_id,
            _ended_task.c.session_id,
            _ended_task.c.run_id,
            cast(bindparam("speaker"), String),
            cast(bindparam("text"), Text),
            _ended_task.c.agent_id,
            _ended_task.c.agent_name,
            cast(bindparam("now"), _messages.c.created_at.type),
        ),
    )
    .returning(_messages.c.id)
    .cte("reply")
)
# Both counts are of the moment before this statement, so the task that ends is among those at work.
_outcome = select(_ended_task.c.run_id, RUNNING.label("running"), WAITS_FOR_CAP.label("waits_for_cap"))
_SETTLE_WITH_REPLY = TenantStatement(_outcome.add_cte(_ended_run, _reply))
_SETTLE = TenantStatement(_outcome.add_cte(_ended_run))

_requeued_task = (
    update(_tasks)
    .where(*_own_task)
    .values(status=TaskStatus.QUEUED, sent_at=None, node_id=None, epoch=None)
    .returning(_tasks.c.run_id)
    .cte("requeued_task")
)
_requeued_run = (
    update(_runs)
    .where(_runs.c.user_id == tenant(), _runs.c.id == _requeued_task.c.run_id, _runs.c.status == RunStatus.RUNNING)
    .values(status=RunStatus.QUEUED)
    .returning(_runs.c.id)
    .cte("requeued_run")
)
_REQUEUE = TenantStatement(select(_requeued_task.c.run_id).add_cte(_requeued_run))
_CANCEL_REASON = TenantStatement(
    select(_runs.c.cancel_reason).where(
        _runs.c.user_id == tenant(), _runs.c.id == bindparam("run"), _runs.c.cancel_requested_at.is_not(None)
    )
)

_END_RUN = TenantStatement(
    update(_runs)
    .where(_runs.c.user_id == tenant(), _runs.c.id == bindparam("run"), _runs.c.finished_at.is_(None))
    .values(status=bindparam("run_status"), **_end)
    .returning(_runs.c.mode)
)

_other = _tasks.alias("other")
_next_held = (
    select(_tasks.c.id)
    .where(
        _tasks.c.user_id == tenant(),
        _tasks.c.session_id == bindparam("session"),
        _tasks.c.status == TaskStatus.HELD,
        _tasks.c.held_reason == HeldReason.SESSION,
        ~select(_other.c.id)
        .where(
            _other.c.user_id == tenant(),
            _other.c.session_id == bindparam("session"),
            or_(
                *(_other.c.status == status for status in (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING)),
                # Its turn in the session has come; it waits for the user's other work.
                and_(_other.c.status == TaskStatus.HELD, _other.c.held_reason == HeldReason.USER_CAP),
            ),
        )
        .exists(),
    )
    .order_by(_tasks.c.id)
    .limit(1)
    .scalar_subquery()
)
_RELEASE = TenantStatement(
    update(_tasks)
    .where(_tasks.c.user_id == tenant(), _tasks.c.id == _next_held, _tasks.c.status == TaskStatus.HELD)
    .values(
        status=TaskStatus.QUEUED,
        held_reason=None,
        sent_at=bindparam("now"),
        send_count=_tasks.c.send_count + 1,
    )
    .returning(_tasks.c.id, _tasks.c.agent_name)
)


_REJOINING = ("task", "agent", "host_node", "host_epoch")


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
            "task": task_id,
            "project": key.project_id,
            "agent": agent_id,
            "host_node": host.node_id,
            "host_epoch": host.epoch,
            "most_running": self._user_task_cap,
        }
        with self._database.tenant_session(key.user_id) as session:
            most = max(self._history_messages, 1)
            found: Any = _LOCK_USER.execute(session, {"task": task_id, "most": most}).all()
            row = _START.execute(session, wanted | {"now": started_at}).one_or_none()
            if row is None and again:
                row = _REJOIN.execute(session, {name: wanted[name] for name in _REJOINING}).one_or_none()
            held = _HOLD_BACK.execute(session, wanted).one_or_none() if row is None else None
            session.commit()
        if row is None:
            return HeldBack._make(held) if held else None
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
            newest_messages=[PastMessage(role, content) for role, content in found],
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
        values = _own(task) | {
            "task_status": task_status,
            "run_status": run_status,
            "now": utc_now(),
            "new_usage": usage.model_dump(mode="json"),
            "new_error": failure.model_dump(mode="json") if failure else None,
        }
        message_id = None
        statement = _SETTLE
        if text is not None:
            message_id = new_id()
            statement = _SETTLE_WITH_REPLY
            values |= {"reply": message_id, "speaker": MessageRole.ASSISTANT.value, "text": text}
        with self._database.tenant_session(task.key.user_id) as session:
            row = statement.execute(session, values).one_or_none()
            if row is None:
                return None
            next_task = release_next(session, task.key, task.session_id)
            session.commit()
        # Tasks that start at this very moment are not counted yet: half of the cap leaves room for them.
        crowded = row.waits_for_cap or row.running * 2 >= self._user_task_cap
        return Settled(message_id, next_task, crowded)

    def requeue(self, task: StartedTask) -> bool:
        """Put a task that wrote nothing yet back to `queued`, for whichever node hosts the workspace next.

        Returns:
            Whether it was; not if it is no longer this node's, or if its end was asked for meanwhile.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            if _REQUEUE.execute(session, _own(task)).one_or_none() is None:
                return False
            # A cancel that waited for this statement finds the task queued; one that came before it is seen here.
            if _CANCEL_REASON.execute(session, {"run": task.run_id}).one_or_none() is not None:
                return False
            session.commit()
        return True

    def cancel_reason(self, task: StartedTask) -> CancelReason | None:
        """Return why the end of a task's run was asked for, if it was."""
        with self._database.tenant_session(task.key.user_id) as session:
            return _CANCEL_REASON.execute(session, {"run": task.run_id}).scalar_one_or_none()


def _own(task: StartedTask) -> dict[str, object]:
    return {"task": task.id, "host_node": task.host.node_id, "host_epoch": task.host.epoch}


def settle_run(
    session: Session, run_id: UUID, status: RunStatus, *, usage: Json | None = None, error: Json | None = None
) -> RunMode | None:
    """Move an active run to its end; returns its mode, or `None` if it had ended before."""
    values = {"run": run_id, "run_status": status, "now": utc_now(), "new_usage": usage or {}, "new_error": error}
    row = _END_RUN.execute(session, values).one_or_none()
    return row.mode if row else None


def release_next(session: Session, key: WorkspaceKey, session_id: UUID) -> QueuedTask | None:
    """Move the oldest task that its session held `held -> queued`, unless another one of the session is at work.

    To be called after the run before it was settled, in the same transaction.
    """
    row = _RELEASE.execute(session, {"session": session_id, "now": utc_now()}).one_or_none()
    return QueuedTask(row.id, key, row.agent_name) if row else None
