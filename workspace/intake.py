"""Accepting a message: one transaction writes message, run and task; publishing follows the commit.

The session row and the agent row are locked, in this order, so that the order of a session's runs and the cap of an
agent's queue are exact under any number of web processes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, exists, func, insert, or_, select
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
            busy, waiting = _load(session, session_id, target.agent_id)
            if waiting >= self._queue_limit:
                raise AgentQueueFull(queued=waiting, limit=self._queue_limit, retry_after=SECONDS_A_TASK)
            accepted = Accepted(
                message_id=new_id(),
                run_id=new_id(),
                task_id=new_id(),
                session_id=session_id,
                status=TaskStatus.HELD if busy else TaskStatus.QUEUED,
                queue_position=waiting,
                target=target,
            )
            _write(session, key, session_id, content, accepted)
            session.commit()
        return accepted


# The statements are built once: building one costs as much as running it.

_TARGET = (
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
    .where(
        ChatSession.id == bindparam("session"),
        ChatSession.project_id == bindparam("project"),
        UserAgent.name == bindparam("agent_name"),
    )
    # Locked against other messages, not against rows that refer to them.
    .with_for_update(key_share=True, of=[ChatSession, UserAgent])
)

# The share lock waits for a finish of the session's run that is under way and then sees its result; a finish that comes
# later waits for this transaction and then sees the task held here.
_active = (
    select(Run.id)
    .where(Run.session_id == bindparam("session"), Run.finished_at.is_(None))
    .limit(1)
    .with_for_update(read=True)
    .cte("active")
)
_LOAD = select(
    exists().select_from(_active),
    select(func.count(Task.id))
    .where(Task.agent_id == bindparam("agent"), or_(Task.status == TaskStatus.QUEUED, Task.status == TaskStatus.HELD))
    .scalar_subquery(),
)


def _lock_target(session: Session, key: WorkspaceKey, session_id: UUID, agent_name: str) -> Target:
    wanted = {"session": session_id, "project": key.project_id, "agent_name": agent_name}
    row = session.execute(_TARGET, wanted).one_or_none()
    if row is None:
        raise NotFound
    return Target(*row)


def _load(session: Session, session_id: UUID, agent_id: UUID) -> tuple[bool, int]:
    """Return whether an earlier run of the session is active, and how many tasks wait for the agent."""
    busy, waiting = session.execute(_LOAD, {"session": session_id, "agent": agent_id}).one()
    return busy, waiting


def _write(session: Session, key: WorkspaceKey, session_id: UUID, content: str, accepted: Accepted) -> None:
    now = utc_now()
    held = accepted.status is TaskStatus.HELD
    row = {"user_id": key.user_id, "session_id": session_id, "created_at": now}
    work = row | {"project_id": key.project_id, "usage": {}}
    session.execute(insert(Run), [work | {"id": accepted.run_id, "mode": RunMode.DIRECT, "status": RunStatus.QUEUED}])
    session.execute(
        insert(Message),
        [row | {"id": accepted.message_id, "run_id": accepted.run_id, "role": MessageRole.USER, "content": content}],
    )
    session.execute(
        insert(Task),
        [
            work
            | {
                "id": accepted.task_id,
                "run_id": accepted.run_id,
                "agent_id": accepted.target.agent_id,
                "agent_name": accepted.target.agent_name,
                "agent_version": accepted.target.agent_version,
                "status": accepted.status,
                "held_reason": HeldReason.SESSION if held else None,
                # It is sent right after the commit; a message that does not arrive is noticed by its age.
                "sent_at": None if held else now,
                "send_count": 0 if held else 1,
            }
        ],
    )
