"""The moves of a task, each one compare-and-set in one transaction: start, finish, and the release of what it held.

A start names the node and the epoch that host the workspace, and so does a finish: a node that lost the workspace
changes nothing. Whoever settles a run releases the next one of its session in the same transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, exists, insert, or_, select, update
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


# The statements are built once: building one costs as much as running it.

_UNSYNCHRONIZED = {"synchronize_session": False}

_HOSTED = exists().where(
    Workspace.user_id == Task.user_id,
    Workspace.project_id == Task.project_id,
    Workspace.node_id == bindparam("host_node"),
    Workspace.epoch == bindparam("host_epoch"),
)

_START_TASK = (
    update(Task)
    .where(
        Task.id == bindparam("task"),
        Task.project_id == bindparam("project"),
        Task.agent_id == bindparam("agent"),
        Task.status == TaskStatus.QUEUED,
        _HOSTED,
    )
    .values(
        status=TaskStatus.RUNNING,
        node_id=bindparam("host_node"),
        epoch=bindparam("host_epoch"),
        started_at=bindparam("now"),
    )
    .returning(Task.session_id, Task.run_id, Task.agent_name, Task.agent_version, Task.send_count)
    .execution_options(**_UNSYNCHRONIZED)
)

_START_RUN = (
    update(Run)
    .where(Run.id == bindparam("run"), Run.status == RunStatus.QUEUED)
    .values(status=RunStatus.RUNNING, started_at=bindparam("now"))
    .execution_options(**_UNSYNCHRONIZED)
)

_CONVERSATION = (
    select(Message.role, Message.content)
    .where(Message.session_id == bindparam("session"), Message.run_id <= bindparam("run"))
    .order_by(Message.run_id.desc(), Message.id.desc())
    .limit(bindparam("most"))
)

_OWN_TASK = (
    Task.id == bindparam("task"),
    Task.status == TaskStatus.RUNNING,
    Task.node_id == bindparam("host_node"),
    Task.epoch == bindparam("host_epoch"),
    _HOSTED,
)

_END_TASK = (
    update(Task)
    .where(*_OWN_TASK)
    .values(
        status=bindparam("new_status"),
        finished_at=bindparam("now"),
        usage=bindparam("new_usage"),
        error=bindparam("new_error"),
    )
    .returning(Task.id)
    .execution_options(**_UNSYNCHRONIZED)
)

_REQUEUE_TASK = (
    update(Task)
    .where(*_OWN_TASK)
    .values(status=TaskStatus.QUEUED, sent_at=None, node_id=None, epoch=None)
    .returning(Task.id)
    .execution_options(**_UNSYNCHRONIZED)
)

_END_RUN = (
    update(Run)
    .where(Run.id == bindparam("run"), Run.finished_at.is_(None))
    .values(
        status=bindparam("new_status"),
        finished_at=bindparam("now"),
        usage=bindparam("new_usage"),
        error=bindparam("new_error"),
    )
    .returning(Run.mode)
    .execution_options(**_UNSYNCHRONIZED)
)

_other = aliased(Task)
_NEXT_HELD = (
    select(Task.id)
    .where(
        Task.session_id == bindparam("session"),
        Task.status == TaskStatus.HELD,
        Task.held_reason == HeldReason.SESSION,
        ~exists().where(
            _other.session_id == bindparam("session"),
            or_(*(_other.status == status for status in (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING))),
        ),
    )
    .order_by(Task.id)
    .limit(1)
    .scalar_subquery()
)
_RELEASE = (
    update(Task)
    .where(Task.id == _NEXT_HELD, Task.status == TaskStatus.HELD)
    .values(status=TaskStatus.QUEUED, held_reason=None, sent_at=bindparam("now"), send_count=Task.send_count + 1)
    .returning(Task.id, Task.agent_name)
    .execution_options(**_UNSYNCHRONIZED)
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
                _START_TASK,
                {
                    "task": task_id,
                    "project": key.project_id,
                    "agent": agent_id,
                    "host_node": host.node_id,
                    "host_epoch": host.epoch,
                    "now": started_at,
                },
            ).one_or_none()
            if row is None:
                return None
            session.execute(_START_RUN, {"run": row.run_id, "now": started_at})
            most = max(self._history_messages, 1)
            found = session.execute(_CONVERSATION, {"session": row.session_id, "run": row.run_id, "most": most})
            messages = [PastMessage(*message) for message in found]
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

    def complete(self, task: StartedTask, text: str, usage: Usage) -> Settled | None:
        """Write the reply, the task's and the run's end, and release the session's next run: one transaction.

        Returns:
            What was written, or `None` if the task is no longer this node's: then nothing was.
        """
        ending = _Ending(TaskStatus.COMPLETED, RunStatus.COMPLETED, usage.model_dump(mode="json"), None)
        message_id = new_id()
        reply = {
            "id": message_id,
            "user_id": task.key.user_id,
            "session_id": task.session_id,
            "run_id": task.run_id,
            "role": MessageRole.ASSISTANT,
            "content": text,
            "agent_id": task.agent_id,
            "agent_name": task.agent_name,
            "created_at": utc_now(),
        }
        with self._database.tenant_session(task.key.user_id) as session:
            if not _end_task(session, task, ending):
                return None
            session.execute(insert(Message), [reply])
            next_task = _end_run(session, task, ending)
            session.commit()
        return Settled(message_id, next_task)

    def fail(self, task: StartedTask, failure: Failure, usage: Usage) -> Settled | None:
        """Write that the task and its run failed, and release the session's next run.

        Returns:
            As `complete`.
        """
        ending = _Ending(
            TaskStatus.FAILED, RunStatus.FAILED, usage.model_dump(mode="json"), failure.model_dump(mode="json")
        )
        with self._database.tenant_session(task.key.user_id) as session:
            if not _end_task(session, task, ending):
                return None
            next_task = _end_run(session, task, ending)
            session.commit()
        return Settled(None, next_task)

    def requeue(self, task: StartedTask) -> bool:
        """Put a task that wrote nothing yet back to `queued`, for whichever node hosts the workspace next."""
        with self._database.tenant_session(task.key.user_id) as session:
            moved = session.execute(_REQUEUE_TASK, _own(task)).one_or_none() is not None
            session.commit()
        return moved


class _Ending(NamedTuple):
    """What a finish writes of a task and its run."""

    task_status: TaskStatus
    run_status: RunStatus
    usage: Json
    error: Json | None


def _own(task: StartedTask) -> dict[str, object]:
    return {"task": task.id, "host_node": task.host.node_id, "host_epoch": task.host.epoch}


def _end_task(session: Session, task: StartedTask, ending: _Ending) -> bool:
    values = {"new_status": ending.task_status, "now": utc_now(), "new_usage": ending.usage, "new_error": ending.error}
    return session.execute(_END_TASK, _own(task) | values).one_or_none() is not None


def _end_run(session: Session, task: StartedTask, ending: _Ending) -> QueuedTask | None:
    settle_run(session, task.run_id, ending.run_status, usage=ending.usage, error=ending.error)
    return release_next(session, task.key, task.session_id)


def settle_run(
    session: Session, run_id: UUID, status: RunStatus, *, usage: Json | None = None, error: Json | None = None
) -> RunMode | None:
    """Move an active run to its end; returns its mode, or `None` if it had ended before."""
    values = {"run": run_id, "new_status": status, "now": utc_now(), "new_usage": usage or {}, "new_error": error}
    row = session.execute(_END_RUN, values).one_or_none()
    return row.mode if row else None


def release_next(session: Session, key: WorkspaceKey, session_id: UUID) -> QueuedTask | None:
    """Move the oldest task that its session held `held -> queued`, unless another one of the session is at work.

    To be called after the run before it was settled, in the same transaction.
    """
    row = session.execute(_RELEASE, {"session": session_id, "now": utc_now()}).one_or_none()
    return QueuedTask(row.id, key, row.agent_name) if row else None
