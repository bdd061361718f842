"""The moves of a task, each one compare-and-set in one transaction: start, finish, and the release of what it held.

A start names the node and the epoch that host the workspace, and so does a finish: a node that lost the workspace
changes nothing. Whoever settles a run releases the next one of its session in the same transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session, aliased

from models import Json, Message, Run, Task, Workspace, new_id, utc_now
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.events import Failure, Usage
from workspace.history import PastMessage
from workspace.names import WorkspaceKey


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


class Settled(NamedTuple):
    """What a finish wrote."""

    message_id: UUID | None
    next_task: QueuedTask | None


def _hosted(task: type[Task], host: Host) -> ColumnElement[bool]:
    return exists().where(
        Workspace.user_id == task.user_id,
        Workspace.project_id == task.project_id,
        Workspace.node_id == host.node_id,
        Workspace.epoch == host.epoch,
    )


class Ledger:
    """Moves tasks and their runs."""

    def __init__(self, database: Database, *, history_messages: int) -> None:
        self._database = database
        self._history_messages = history_messages

    def start(self, task_id: UUID, key: WorkspaceKey, agent_id: UUID, host: Host) -> StartedTask | None:
        """Move a task `queued -> running` and read what it needs.

        The ids of the queue that the message came by are part of the comparison, so a message put on another queue
        starts nothing.

        Returns:
            The task, or `None` when there is nothing to start: settled, taken, held, of another queue or gone.
        """
        started_at = utc_now()
        with self._database.tenant_session(key.user_id) as session:
            row = session.execute(
                update(Task)
                .where(
                    Task.id == task_id,
                    Task.project_id == key.project_id,
                    Task.agent_id == agent_id,
                    Task.status == TaskStatus.QUEUED,
                    _hosted(Task, host),
                )
                .values(status=TaskStatus.RUNNING, node_id=host.node_id, epoch=host.epoch, started_at=started_at)
                .returning(Task.session_id, Task.run_id, Task.agent_name, Task.agent_version, Task.send_count)
                .execution_options(synchronize_session=False)
            ).one_or_none()
            if row is None:
                return None
            session.execute(
                update(Run)
                .where(Run.id == row.run_id, Run.status == RunStatus.QUEUED)
                .values(status=RunStatus.RUNNING, started_at=started_at)
                .execution_options(synchronize_session=False)
            )
            messages = self._conversation(session, row.session_id, row.run_id)
            session.commit()
        return StartedTask(
            id=task_id,
            key=key,
            session_id=row.session_id,
            run_id=row.run_id,
            agent_id=agent_id,
            agent_name=row.agent_name,
            agent_version=row.agent_version,
            host=host,
            attempt=1,
            started_at=started_at,
            newest_messages=messages,
        )

    def _conversation(self, session: Session, session_id: UUID, run_id: UUID) -> list[PastMessage]:
        rows = session.execute(
            select(Message.role, Message.content)
            .where(Message.session_id == session_id, Message.run_id <= run_id)
            .order_by(Message.run_id.desc(), Message.id.desc())
            .limit(max(self._history_messages, 1))
        )
        return [PastMessage(*row) for row in rows]

    def complete(self, task: StartedTask, text: str, usage: Usage) -> Settled | None:
        """Write the reply, the task's and the run's end, and release the session's next run: one transaction.

        Returns:
            What was written, or `None` if the task is no longer this node's: then nothing was.
        """
        used = usage.model_dump(mode="json")
        with self._database.tenant_session(task.key.user_id) as session:
            if not _settle_task(session, task, {"status": TaskStatus.COMPLETED, "usage": used}):
                return None
            message_id = new_id()
            session.add(
                Message(
                    id=message_id,
                    user_id=task.key.user_id,
                    session_id=task.session_id,
                    run_id=task.run_id,
                    role=MessageRole.ASSISTANT,
                    content=text,
                    agent_id=task.agent_id,
                    agent_name=task.agent_name,
                )
            )
            settle_run(session, task.run_id, RunStatus.COMPLETED, {"usage": used})
            next_task = release_next(session, task.key, task.session_id)
            session.commit()
        return Settled(message_id, next_task)

    def fail(self, task: StartedTask, failure: Failure, usage: Usage) -> Settled | None:
        """Write that the task and its run failed, and release the session's next run.

        Returns:
            As `complete`.
        """
        error = failure.model_dump(mode="json")
        used = usage.model_dump(mode="json")
        with self._database.tenant_session(task.key.user_id) as session:
            if not _settle_task(session, task, {"status": TaskStatus.FAILED, "usage": used, "error": error}):
                return None
            settle_run(session, task.run_id, RunStatus.FAILED, {"usage": used, "error": error})
            next_task = release_next(session, task.key, task.session_id)
            session.commit()
        return Settled(None, next_task)

    def requeue(self, task: StartedTask) -> bool:
        """Put a task that wrote nothing yet back to `queued`, for whichever node hosts the workspace next."""
        with self._database.tenant_session(task.key.user_id) as session:
            values: Json = {"status": TaskStatus.QUEUED, "sent_at": None, "node_id": None, "epoch": None}
            moved = _move(session, task, values)
            session.commit()
        return moved


def _settle_task(session: Session, task: StartedTask, values: Json) -> bool:
    return _move(session, task, {"finished_at": utc_now(), **values})


def _move(session: Session, task: StartedTask, values: Json) -> bool:
    moved = session.execute(
        update(Task)
        .where(
            Task.id == task.id,
            Task.status == TaskStatus.RUNNING,
            Task.node_id == task.host.node_id,
            Task.epoch == task.host.epoch,
            _hosted(Task, task.host),
        )
        .values(**values)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return moved.one_or_none() is not None


def settle_run(session: Session, run_id: UUID, status: RunStatus, values: Json) -> RunMode | None:
    """Move a run to its end; returns its mode, or `None` if it had ended before."""
    row = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.status.in_(RunStatus.expected_before(status)))
        .values(status=status, finished_at=utc_now(), **values)
        .returning(Run.mode)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return row.mode if row else None


def release_next(session: Session, key: WorkspaceKey, session_id: UUID) -> QueuedTask | None:
    """Move the oldest task that its session held `held -> queued`, unless another one of the session is at work.

    To be called after the run before it was settled, in the same transaction.
    """
    other = aliased(Task)
    at_work = (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING)
    oldest = (
        select(Task.id)
        .where(
            Task.session_id == session_id,
            Task.status == TaskStatus.HELD,
            Task.held_reason == HeldReason.SESSION,
            ~exists().where(other.session_id == session_id, other.status.in_(at_work)),
        )
        .order_by(Task.id)
        .limit(1)
        .scalar_subquery()
    )
    row = session.execute(
        update(Task)
        .where(Task.id == oldest, Task.status == TaskStatus.HELD)
        .values(status=TaskStatus.QUEUED, held_reason=None, sent_at=utc_now(), send_count=Task.send_count + 1)
        .returning(Task.id, Task.agent_name)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return QueuedTask(row.id, key, row.agent_name) if row else None
