"""Accepting a message: one transaction writes message, run and task; publishing follows the commit.

The session row and the agent row are locked, in this order, so that the order of a session's runs and the cap of an
agent's queue are exact under any number of web processes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, func, insert, or_, select
from sqlalchemy.orm import Session

from models import ChatSession, Message, Run, Task, UserAgent, Workspace, new_id, utc_now
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from models.tenant_statement import TenantStatement, table_of, tenant
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
            _write(session, key, content, accepted)
            session.commit()
        return accepted


# The statements that run with each message are Core, and built and checked once. No parameter has a column's name:
# SQLAlchemy would take it for that column's own.

_agents, _sessions, _workspaces = table_of(UserAgent), table_of(ChatSession), table_of(Workspace)
_runs, _tasks, _messages = table_of(Run), table_of(Task), table_of(Message)

_TARGET = TenantStatement(
    select(
        _agents.c.id,
        _agents.c.name,
        _agents.c.version,
        _workspaces.c.node_id,
        _workspaces.c.epoch,
        _workspaces.c.alive_until,
    )
    .select_from(
        _sessions.join(_agents, _agents.c.project_id == _sessions.c.project_id).join(
            _workspaces, _workspaces.c.project_id == _sessions.c.project_id
        )
    )
    .where(
        _sessions.c.user_id == tenant(),
        _agents.c.user_id == tenant(),
        _workspaces.c.user_id == tenant(),
        _sessions.c.id == bindparam("session"),
        _sessions.c.project_id == bindparam("project"),
        _agents.c.name == bindparam("wanted_agent"),
    )
    # Locked against other messages, not against rows that refer to them.
    .with_for_update(key_share=True, of=[_sessions, _agents])
)

# The share lock waits for a finish of the session's run that is under way and then sees its result; a finish that comes
# later waits for this transaction and then sees the task held here.
_active = (
    select(_runs.c.id)
    .where(
        _runs.c.user_id == tenant(),
        _runs.c.session_id == bindparam("session"),
        _runs.c.finished_at.is_(None),
    )
    .limit(1)
    .with_for_update(read=True)
    .cte("active")
)
_LOAD = TenantStatement(
    select(
        select(_active.c.id).exists(),
        select(func.count(_tasks.c.id))
        .where(
            _tasks.c.user_id == tenant(),
            _tasks.c.agent_id == bindparam("agent"),
            or_(_tasks.c.status == TaskStatus.QUEUED, _tasks.c.status == TaskStatus.HELD),
        )
        .scalar_subquery(),
    )
)

_work = {
    "user_id": tenant(),
    "project_id": bindparam("project"),
    "session_id": bindparam("session"),
    "created_at": bindparam("now"),
    "usage": bindparam("no_usage"),
}
_new_run = (
    insert(_runs)
    .values(**_work, id=bindparam("run"), mode=RunMode.DIRECT, status=RunStatus.QUEUED)
    .returning(_runs.c.id)
    .cte("new_run")
)
_new_message = (
    insert(_messages)
    .values(
        user_id=tenant(),
        id=bindparam("message"),
        project_id=bindparam("project"),
        session_id=bindparam("session"),
        run_id=bindparam("run"),
        role=bindparam("speaker"),
        content=bindparam("text"),
        created_at=bindparam("now"),
    )
    .returning(_messages.c.id)
    .cte("new_message")
)
_ACCEPT = TenantStatement(
    insert(_tasks)
    .values(
        **_work,
        id=bindparam("task"),
        run_id=bindparam("run"),
        agent_id=bindparam("agent"),
        agent_name=bindparam("wanted_agent"),
        agent_version=bindparam("wanted_version"),
        status=bindparam("task_status"),
        held_reason=bindparam("why_held"),
        sent_at=bindparam("sent"),
        send_count=bindparam("sends"),
        attempts=bindparam("no_attempts"),
    )
    .add_cte(_new_run, _new_message)
)


def _lock_target(session: Session, key: WorkspaceKey, session_id: UUID, agent_name: str) -> Target:
    wanted = {"session": session_id, "project": key.project_id, "wanted_agent": agent_name}
    row = _TARGET.execute(session, wanted).one_or_none()
    if row is None:
        raise NotFound
    return Target._make(row)


def _load(session: Session, session_id: UUID, agent_id: UUID) -> tuple[bool, int]:
    """Return whether an earlier run of the session is active, and how many tasks wait for the agent."""
    row: Any = _LOAD.execute(session, {"session": session_id, "agent": agent_id}).one()
    return row[0], row[1]


def _write(session: Session, key: WorkspaceKey, content: str, accepted: Accepted) -> None:
    """Write message, run and task in one statement."""
    now = utc_now()
    held = accepted.status is TaskStatus.HELD
    _ACCEPT.execute(
        session,
        {
            "project": key.project_id,
            "session": accepted.session_id,
            "run": accepted.run_id,
            "message": accepted.message_id,
            "task": accepted.task_id,
            "text": content,
            "agent": accepted.target.agent_id,
            "wanted_agent": accepted.target.agent_name,
            "wanted_version": accepted.target.agent_version,
            "task_status": accepted.status,
            "why_held": HeldReason.SESSION if held else None,
            "speaker": MessageRole.USER,
            "no_usage": {},
            "no_attempts": 0,
            "now": now,
            # It is sent right after the commit; a message that does not arrive is noticed by its age.
            "sent": None if held else now,
            "sends": 0 if held else 1,
        },
    )
