"""Accepting a message: one transaction writes message, run and task; publishing follows the commit.

The session row and the agent row are locked, in this order, so that the order of a session's runs and the cap of an
agent's queue are exact under any number of web processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import bindparam, func, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import ChatSession, Json, Message, Run, Task, UserAgent, Workspace, new_id, utc_now
from models.statuses import CancelReason, HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from models.tenant_statement import TenantStatement, table_of, tenant
from workspace.cancellation import Ending, end_runs, unfinished_runs
from workspace.errors import AgentQueueFull, IdempotencyConflict, NotFound, SessionBusy
from workspace.idempotency import Repeat, Repeated, find_repeat
from workspace.names import WorkspaceKey
from workspace.user_work import RUNNING, WAITS_FOR_CAP

SECONDS_A_TASK = 2.0
"""A guess for `Retry-After`: what a direct answer takes (the 95th percentile that the requirements set)."""


class Target(NamedTuple):
    """Who answers, and who hosts the workspace."""

    agent_id: UUID
    agent_name: str
    agent_version: int
    node_id: str | None
    epoch: int

    @property
    def host(self) -> tuple[str, int] | None:
        """The node and epoch that the row names; whether that node lives is for the sweeper to find."""
        return None if self.node_id is None else (self.node_id, self.epoch)


class OnBusy(StrEnum):
    """What becomes of a message whose session has a run that is not finished."""

    ENQUEUE = "enqueue"  # it is answered after that
    REJECT = "reject"  # it is refused
    INTERRUPT = "interrupt"  # that run is cancelled, what it wrote is kept, and this message is answered


@dataclass(frozen=True, kw_only=True)
class NewMessage:
    """A message as it comes."""

    session_id: UUID
    content: str
    agent_name: str
    on_busy: OnBusy = OnBusy.ENQUEUE
    repeat: Repeat | None = None
    """The client's name for it, if it gave one."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A message that will not be lost."""

    message_id: UUID
    run_id: UUID
    task_id: UUID
    session_id: UUID
    status: TaskStatus
    held_reason: HeldReason | None = None
    queue_position: int
    """Tasks ahead of it on its agent's queue."""
    target: Target

    @property
    def receipt(self) -> Json:
        """What its sender is told beside ids, as it is kept for a repeat."""
        return {"status": self.status.value, "queue_position": self.queue_position}

    @property
    def waits_for_cap(self) -> bool:
        """Whether it waits for its user's other work."""
        return self.held_reason is HeldReason.USER_CAP

    interrupted: Ending = field(default_factory=lambda: Ending(CancelReason.INTERRUPTED))
    """What was ended for it."""


class Intake:
    """Writes accepted messages."""

    def __init__(self, database: Database, *, queue_limit: int, user_task_cap: int) -> None:
        self._database = database
        self._queue_limit = queue_limit
        self._user_task_cap = user_task_cap

    def accept(self, key: WorkspaceKey, message: NewMessage) -> Accepted | Repeated:
        """Store a message for one named agent; one that was sent before under the same key is found instead.

        Raises:
            NotFound: no such session or agent in the project.
            AgentQueueFull: the agent has its cap of tasks waiting.
            SessionBusy: the session has an active run, and the message asked to be refused then.
            IdempotencyConflict: the key came with another message before.
        """
        with self._database.tenant_session(key.user_id) as session:
            # Before the lock, so that a repeat is found also if its agent is gone; and after it, so that of two at the
            # same moment the second finds the first.
            if message.repeat and (before := find_repeat(session, message.repeat)):
                return before
            target = _lock_target(session, key, message)
            if message.repeat and (before := find_repeat(session, message.repeat)):
                return before
            interrupted = Ending(CancelReason.INTERRUPTED)
            # Before the load is looked at, which locks a run: a finish locks its task first, and so does this.
            if message.on_busy is OnBusy.INTERRUPT and (runs := _unfinished(session, message)):
                interrupted = end_runs(session, key, runs, CancelReason.INTERRUPTED)
            load = _load(session, message.session_id, target.agent_id)
            if load.is_busy and message.on_busy is OnBusy.REJECT:
                raise SessionBusy
            if load.waiting >= self._queue_limit:
                raise AgentQueueFull(queued=load.waiting, limit=self._queue_limit, retry_after=SECONDS_A_TASK)
            held_reason = self._why_held(load)
            accepted = Accepted(
                message_id=new_id(),
                run_id=new_id(),
                task_id=new_id(),
                session_id=message.session_id,
                status=TaskStatus.HELD if held_reason else TaskStatus.QUEUED,
                held_reason=held_reason,
                queue_position=load.waiting,
                target=target,
                interrupted=interrupted,
            )
            try:
                _write(session, key, message, accepted)
            except IntegrityError as error:
                if message.repeat and isinstance(error.orig, UniqueViolation):
                    # Only the key can be there already, and in this session it was looked for: it is another's.
                    raise IdempotencyConflict from error
                raise
            session.commit()
        return accepted

    def _why_held(self, load: "_Load") -> HeldReason | None:
        if load.is_busy:
            return HeldReason.SESSION
        # The start decides with a lock; here it only saves the way to the node, and keeps the order of what waits.
        if load.running >= self._user_task_cap or load.waits_for_cap:
            return HeldReason.USER_CAP
        return None


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
        select(_active.c.id).exists().label("is_busy"),
        select(func.count(_tasks.c.id))
        .where(
            _tasks.c.user_id == tenant(),
            _tasks.c.agent_id == bindparam("agent"),
            or_(_tasks.c.status == TaskStatus.QUEUED, _tasks.c.status == TaskStatus.HELD),
        )
        .scalar_subquery()
        .label("waiting"),
        RUNNING.label("running"),
        WAITS_FOR_CAP.label("waits_for_cap"),
    )
)


class _Load(NamedTuple):
    is_busy: bool
    """Whether an earlier run of the session is active."""
    waiting: int
    """Tasks that wait for the agent."""
    running: int
    """Tasks of the user that are at work."""
    waits_for_cap: bool
    """Whether tasks of the user wait for the user-wide cap."""


_work = {
    "user_id": tenant(),
    "project_id": bindparam("project"),
    "session_id": bindparam("session"),
    "created_at": bindparam("now"),
    "usage": bindparam("no_usage"),
}
_new_run = (
    insert(_runs)
    .values(
        **_work,
        id=bindparam("run"),
        mode=RunMode.DIRECT,
        status=RunStatus.QUEUED,
        idempotency_key=bindparam("given_key"),
        idempotency_digest=bindparam("given_digest"),
        receipt=bindparam("first_receipt"),
    )
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


def _lock_target(session: Session, key: WorkspaceKey, message: NewMessage) -> Target:
    wanted = {"session": message.session_id, "project": key.project_id, "wanted_agent": message.agent_name}
    row = _TARGET.execute(session, wanted).one_or_none()
    if row is None:
        raise NotFound
    return Target._make(row)


def _unfinished(session: Session, message: NewMessage) -> Sequence[UUID]:
    return unfinished_runs(session, Run.session_id == message.session_id)


def _load(session: Session, session_id: UUID, agent_id: UUID) -> _Load:
    row: Any = _LOAD.execute(session, {"session": session_id, "agent": agent_id}).one()
    return _Load._make(row)


def _write(session: Session, key: WorkspaceKey, message: NewMessage, accepted: Accepted) -> None:
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
            "text": message.content,
            "agent": accepted.target.agent_id,
            "wanted_agent": accepted.target.agent_name,
            "wanted_version": accepted.target.agent_version,
            "task_status": accepted.status,
            "why_held": accepted.held_reason,
            "speaker": MessageRole.USER,
            "no_usage": {},
            "no_attempts": 0,
            "now": now,
            # It is sent right after the commit; a message that does not arrive is noticed by its age.
            "sent": None if held else now,
            "sends": 0 if held else 1,
            "given_key": message.repeat.key if message.repeat else None,
            "given_digest": message.repeat.digest if message.repeat else None,
            "first_receipt": accepted.receipt if message.repeat else None,
        },
    )
