"""Accepting a message: one transaction writes message, run and task; publishing follows the commit.

The session row and the agent row are locked, in this order, so that the order of a session's runs and the cap of an
agent's queue are exact under any number of web processes. A message that names no agent goes to the orchestrator of
its project; there the project's row is locked, and before the session's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Json, Run, new_id, utc_now
from models.statuses import CancelReason, HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.cancellation import Ending, end_runs, unfinished_runs
from workspace.errors import AgentQueueFull, IdempotencyConflict, InvalidInput, NotFound, SessionBusy
from workspace.idempotency import Repeat, Repeated, find_repeat
from workspace.intake_statements import ACCEPT, LOAD_OF_AGENT, LOAD_OF_ORCHESTRATOR, LOCK_AGENT, LOCK_PROJECT
from workspace.names import ORCHESTRATOR, PLANNING_ID, WorkspaceKey

SECONDS_A_TASK = 2.0
"""A guess for `Retry-After`: what a direct answer takes (the 95th percentile that the requirements set)."""


class Target(NamedTuple):
    """Who answers, and who hosts the workspace."""

    agent_id: UUID
    """Of the orchestrator, which is no row: its project's id, under which its host knows it."""
    agent_name: str
    agent_version: int
    node_id: str | None
    epoch: int

    @property
    def host(self) -> tuple[str, int] | None:
        """The node and epoch that the row names; whether that node lives is for the sweeper to find."""
        return None if self.node_id is None else (self.node_id, self.epoch)

    @property
    def mode(self) -> RunMode:
        """How it answers."""
        return RunMode.ORCHESTRATED if self.agent_name == ORCHESTRATOR else RunMode.DIRECT


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
    agent_name: str | None
    """`None`: the orchestrator makes a plan of it."""
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
    def mode(self) -> RunMode:
        """How it is answered."""
        return self.target.mode

    @property
    def agent_id(self) -> UUID | None:
        """The agent's id, as rows and events have it: the orchestrator is none."""
        return self.target.agent_id if self.mode is RunMode.DIRECT else None

    @property
    def receipt(self) -> Json:
        """What its sender is told beside ids, as it is kept for a repeat."""
        return {"mode": self.mode.value, "status": self.status.value, "queue_position": self.queue_position}

    @property
    def waits_for_cap(self) -> bool:
        """Whether it waits for its user's other work."""
        return self.held_reason is HeldReason.USER_CAP

    interrupted: Ending = field(default_factory=lambda: Ending(CancelReason.INTERRUPTED))
    """What was ended for it."""


class _Load(NamedTuple):
    is_busy: bool
    """Whether an earlier run of the session is active."""
    waiting: int
    """Tasks that wait for the agent."""
    running: int
    """Tasks of the user that are at work."""
    waits_for_cap: bool
    """Whether tasks of the user wait for the user-wide cap."""


class Intake:
    """Writes accepted messages."""

    def __init__(self, database: Database, *, queue_limit: int, user_task_cap: int) -> None:
        self._database = database
        self._queue_limit = queue_limit
        self._user_task_cap = user_task_cap

    def accept(self, key: WorkspaceKey, message: NewMessage) -> Accepted | Repeated:
        """Store a message; one that was sent before under the same key is found instead.

        Raises:
            NotFound: no such session or agent in the project.
            InvalidInput: it names no agent, and the project has none.
            AgentQueueFull: the agent, or the orchestrator, has its cap of tasks waiting.
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
            load = _load(session, message.session_id, target)
            self._check_room(message, target, load)
            accepted = self._accepted(message, target, load, interrupted)
            _write_once(session, key, message, accepted)
            session.commit()
        return accepted

    def _check_room(self, message: NewMessage, target: Target, load: _Load) -> None:
        """Refuse a message that its session or its queue has no room for.

        Raises:
            SessionBusy: the session has an active run, and the message asked to be refused then.
            AgentQueueFull: the agent, or the orchestrator, has its cap of tasks waiting.
        """
        if load.is_busy and message.on_busy is OnBusy.REJECT:
            raise SessionBusy
        check_queue(target.mode, load.waiting, limit=self._queue_limit)

    def _accepted(self, message: NewMessage, target: Target, load: _Load, interrupted: Ending) -> Accepted:
        """Return the message as it will be written, under new ids."""
        held_reason = self._why_held(load)
        return Accepted(
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

    def _why_held(self, load: _Load) -> HeldReason | None:
        if load.is_busy:
            return HeldReason.SESSION
        # The start decides with a lock; here it only saves the way to the node, and keeps the order of what waits.
        if load.running >= self._user_task_cap or load.waits_for_cap:
            return HeldReason.USER_CAP
        return None


def check_queue(mode: RunMode, waiting: int, *, limit: int) -> None:
    """Refuse a run that its queue has no room for.

    Args:
        mode: of the run: whether the queue is an agent's or the orchestrator's.
        waiting: the tasks that wait there.
        limit: how many may.

    Raises:
        AgentQueueFull: it is full.
    """
    if waiting >= limit:
        who = "agent" if mode is RunMode.DIRECT else "orchestrator"
        raise AgentQueueFull(queued=waiting, limit=limit, retry_after=SECONDS_A_TASK, who=who)


def _lock_target(session: Session, key: WorkspaceKey, message: NewMessage) -> Target:
    if message.agent_name is None:
        return _lock_orchestrator(session, key, message)
    wanted = {"session": message.session_id, "project": key.project_id, "wanted_agent": message.agent_name}
    row = LOCK_AGENT.execute(session, wanted).one_or_none()
    if row is None:
        raise NotFound
    return Target._make(row)


def _lock_orchestrator(session: Session, key: WorkspaceKey, message: NewMessage) -> Target:
    wanted = {"session": message.session_id, "project": key.project_id}
    row: Any = LOCK_PROJECT.execute(session, wanted).one_or_none()
    if row is None:
        raise NotFound
    if not row.has_agents:
        raise InvalidInput("The project has no agents that could answer: make one first.")
    return Target(key.project_id, ORCHESTRATOR, 0, row.node_id, row.epoch)


def _unfinished(session: Session, message: NewMessage) -> Sequence[UUID]:
    return unfinished_runs(session, Run.session_id == message.session_id)


def _load(session: Session, session_id: UUID, target: Target) -> _Load:
    statement = LOAD_OF_ORCHESTRATOR if target.mode is RunMode.ORCHESTRATED else LOAD_OF_AGENT
    row: Any = statement.execute(session, {"session": session_id, "consumer": target.agent_id}).one()
    return _Load._make(row)


def _write_once(session: Session, key: WorkspaceKey, message: NewMessage, accepted: Accepted) -> None:
    try:
        _write(session, key, message, accepted)
    except IntegrityError as error:
        if message.repeat and isinstance(error.orig, UniqueViolation):
            # Only the key can be there already, and in this session it was looked for: it is another's.
            raise IdempotencyConflict from error
        raise


def _write(session: Session, key: WorkspaceKey, message: NewMessage, accepted: Accepted) -> None:
    """Write message, run and task in one statement."""
    now = utc_now()
    held = accepted.status is TaskStatus.HELD
    planned = accepted.mode is RunMode.ORCHESTRATED
    ACCEPT.execute(
        session,
        {
            "project": key.project_id,
            "session": accepted.session_id,
            "run": accepted.run_id,
            "run_mode": accepted.mode,
            "run_status": RunStatus.PLANNING if planned else RunStatus.QUEUED,
            "message": accepted.message_id,
            "task": accepted.task_id,
            "text": message.content,
            "agent": accepted.agent_id,
            "wanted_agent": accepted.target.agent_name,
            "wanted_version": accepted.target.agent_version,
            "place_in_plan": PLANNING_ID if planned else None,
            "none_before": [],
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
