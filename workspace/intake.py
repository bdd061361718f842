"""Accepting a message: one transaction writes message, run and task; publishing follows the commit.

The session row and the agent row are locked, in this order, so that the order of a session's runs and the cap of an
agent's queue are exact under any number of web processes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import ChatSession, Message, Run, Task, UserAgent, Workspace, new_id, utc_now
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.errors import AgentQueueFull, NotFound
from workspace.names import WorkspaceKey

SECONDS_A_TASK = 2.0
"""A guess for `Retry-After`: what a direct answer takes (the 95th percentile that the requirements set)."""


class Target(NamedTuple):
    """Who answers, and who hosts the workspace."""

    agent_id: UUID
    agent_name: str
    agent_version: int
    node_id: str | None
    epoch: int
    alive_until: datetime | None

    @property
    def host(self) -> tuple[str, int] | None:
        """The node and epoch that host the workspace now, if one does."""
        if self.node_id is None or self.alive_until is None or self.alive_until < utc_now():
            return None
        return self.node_id, self.epoch


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A message that will not be lost."""

    message_id: UUID
    run_id: UUID
    task_id: UUID
    session_id: UUID
    status: TaskStatus
    queue_position: int
    """Tasks ahead of it on its agent's queue."""
    target: Target


class Intake:
    """Writes accepted messages."""

    def __init__(self, database: Database, *, queue_limit: int) -> None:
        self._database = database
        self._queue_limit = queue_limit

    def accept(self, key: WorkspaceKey, session_id: UUID, content: str, agent_name: str) -> Accepted:
        """Store a message for one named agent.

        Raises:
            NotFound: no such session or agent in the project.
            AgentQueueFull: the agent has its cap of tasks waiting.
        """
        with self._database.tenant_session(key.user_id) as session:
            target = _lock_target(session, key, session_id, agent_name)
            busy = _active_run(session, session_id)
            position = _queued(session, target.agent_id)
            if position >= self._queue_limit:
                raise AgentQueueFull(queued=position, limit=self._queue_limit, retry_after=SECONDS_A_TASK)
            accepted = _write(session, key, session_id, content, target, busy=busy, position=position)
            session.commit()
        return accepted


def _lock_target(session: Session, key: WorkspaceKey, session_id: UUID, agent_name: str) -> Target:
    """Lock the session and the agent against other messages, not against rows that refer to them."""
    row = session.execute(
        select(
            UserAgent.id,
            UserAgent.name,
            UserAgent.version,
            Workspace.node_id,
            Workspace.epoch,
            Workspace.alive_until,
        )
        .select_from(ChatSession)
        .join(UserAgent, UserAgent.project_id == ChatSession.project_id)
        .join(Workspace, Workspace.project_id == ChatSession.project_id)
        .where(ChatSession.id == session_id, ChatSession.project_id == key.project_id, UserAgent.name == agent_name)
        .with_for_update(key_share=True, of=[ChatSession, UserAgent])
    ).one_or_none()
    if row is None:
        raise NotFound
    return Target(*row)


def _active_run(session: Session, session_id: UUID) -> bool:
    """Return whether an earlier run is active.

    The share lock waits for a finish that is under way and then sees its result; a finish that comes later waits for
    this transaction and then sees the task held here.
    """
    found = session.execute(
        select(Run.id)
        .where(Run.session_id == session_id, Run.status.in_(RunStatus.active()))
        .limit(1)
        .with_for_update(read=True)
    )
    return found.first() is not None


def _queued(session: Session, agent_id: UUID) -> int:
    waiting = (TaskStatus.QUEUED, TaskStatus.HELD)
    count = select(func.count(Task.id)).where(Task.agent_id == agent_id, Task.status.in_(waiting))
    return session.execute(count).scalar_one()


def _write(
    session: Session,
    key: WorkspaceKey,
    session_id: UUID,
    content: str,
    target: Target,
    *,
    busy: bool,
    position: int,
) -> Accepted:
    run_id, task_id, message_id = new_id(), new_id(), new_id()
    owner = {"user_id": key.user_id, "session_id": session_id}
    status = TaskStatus.HELD if busy else TaskStatus.QUEUED
    session.add(
        Run(id=run_id, project_id=key.project_id, mode=RunMode.DIRECT, status=RunStatus.QUEUED, usage={}, **owner)
    )
    session.flush()  # the rows below refer to it
    session.add(Message(id=message_id, run_id=run_id, role=MessageRole.USER, content=content, **owner))
    session.add(
        Task(
            id=task_id,
            project_id=key.project_id,
            run_id=run_id,
            agent_id=target.agent_id,
            agent_name=target.agent_name,
            agent_version=target.agent_version,
            status=status,
            held_reason=HeldReason.SESSION if busy else None,
            # The row is committed before the message is sent; a message that is not sent is noticed by its age.
            sent_at=None if busy else utc_now(),
            send_count=0 if busy else 1,
            usage={},
            **owner,
        )
    )
    return Accepted(
        message_id=message_id,
        run_id=run_id,
        task_id=task_id,
        session_id=session_id,
        status=status,
        queue_position=position,
        target=target,
    )
