"""Accepting a retry: a new run that answers the message of one which ended without, or with half, an answer.

It is a run like any other: it has its place in its session's order, counts towards the cap of its user and of its
queue, and may be named by an `Idempotency-Key`. Only the message is there already.
"""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import ChatSession, Json, Project, Run, Task, UserAgent, Workspace, new_id, utc_now
from models.statuses import HeldReason, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.errors import IdempotencyConflict, NotFound, RunNotRetryable
from workspace.idempotency import Repeat, Repeated, find_repeat
from workspace.intake import Accepted, Target, check_queue
from workspace.names import ORCHESTRATOR, PLANNING_ID, WorkspaceKey

RETRYABLE = frozenset({RunStatus.FAILED, RunStatus.PARTIAL, RunStatus.CANCELLED})
"""How a run ends of which something is left to do."""


class Retries(Protocol):
    """Accepts retries."""

    def accept(self, key: WorkspaceKey, run_id: UUID, repeat: Repeat | None) -> Accepted | Repeated:
        """Store a run that does again what another one has no result of.

        Raises:
            NotFound: no such run in the project.
            RunNotRetryable: it is at work, or has its answer, or cannot be done again.
            AgentQueueFull: as many tasks wait as may.
            IdempotencyConflict: the key came with another request before.
        """


@dataclass(frozen=True, kw_only=True)
class Again:
    """What is to be done again."""

    run: Run
    """The run that ended."""
    message_id: UUID
    """What it, and the new one, answers."""
    agent_name: str
    """Who begins: the agent of a direct run, or the orchestrator."""
    plan: Json | None = None
    """What was planned already; `None`: it is planned anew, or there is nothing to plan."""


class RetryIntake:
    """Writes accepted retries."""

    def __init__(self, database: Database, *, queue_limit: int, user_task_cap: int) -> None:
        self._database = database
        self._queue_limit = queue_limit
        self._user_task_cap = user_task_cap

    def accept(self, key: WorkspaceKey, again: Again, repeat: Repeat | None) -> Accepted | Repeated:
        """Store a run and its first task.

        Raises:
            NotFound: its session was deleted meanwhile.
            RunNotRetryable: its agent is gone, or it is done again already.
            AgentQueueFull: as many tasks wait as may.
            IdempotencyConflict: the key came with another request before.
        """
        with self._database.tenant_session(key.user_id) as session:
            target = _lock(session, key, again)
            if repeat and (before := find_repeat(session, repeat)):
                return before
            _check_first(session, again.run)
            held_reason, waiting = self._load(session, key, again)
            accepted = Accepted(
                message_id=again.message_id,
                run_id=new_id(),
                task_id=new_id(),
                session_id=again.run.session_id,
                status=TaskStatus.HELD if held_reason else TaskStatus.QUEUED,
                held_reason=held_reason,
                queue_position=waiting,
                target=target,
            )
            try:
                _write(session, key, again, accepted, repeat)
            except IntegrityError as error:
                if repeat and isinstance(error.orig, UniqueViolation):
                    raise IdempotencyConflict from error
                raise
            session.commit()
        return accepted

    def _load(self, session: Session, key: WorkspaceKey, again: Again) -> tuple[HeldReason | None, int]:
        """Return why it may not start yet, and how many tasks wait before it."""
        active = select(Run.id).where(Run.session_id == again.run.session_id, Run.finished_at.is_(None))
        # The share lock waits for a finish that is under way, as with a message.
        busy = session.scalars(active.limit(1).with_for_update(read=True)).first() is not None
        waiting = session.scalars(
            select(func.count(Task.id)).where(
                _on_queue(key, again), or_(Task.status == TaskStatus.QUEUED, Task.status == TaskStatus.HELD)
            )
        ).one()
        check_queue(again.run.mode, waiting, limit=self._queue_limit)
        if busy:
            return HeldReason.SESSION, waiting
        at_work = select(Task.id).where(Task.status == TaskStatus.RUNNING)
        capped = select(Task.id).where(Task.status == TaskStatus.HELD, Task.held_reason == HeldReason.USER_CAP)
        running = session.scalars(select(func.count()).select_from(at_work.subquery())).one()
        if running >= self._user_task_cap or session.scalars(capped.limit(1)).first() is not None:
            return HeldReason.USER_CAP, waiting
        return None, waiting


def _lock(session: Session, key: WorkspaceKey, again: Again) -> Target:
    """Lock session and agent, or project and session, in the order in which a message locks them."""
    planned = again.run.mode is RunMode.ORCHESTRATED
    here = session.execute(
        select(ChatSession.id, Workspace.node_id, Workspace.epoch)
        .join(Project, Project.id == ChatSession.project_id)
        .join(Workspace, Workspace.project_id == ChatSession.project_id)
        .where(ChatSession.id == again.run.session_id, ChatSession.project_id == key.project_id)
        # The project stands for its orchestrator, whose queue has its cap as an agent's has.
        .with_for_update(key_share=True, of=[Project, ChatSession] if planned else [ChatSession])
    ).one_or_none()
    if here is None:
        raise NotFound
    _, node_id, epoch = here
    if planned:
        return Target(key.project_id, ORCHESTRATOR, 0, node_id, epoch)
    agent = session.execute(
        select(UserAgent.id, UserAgent.version)
        .where(UserAgent.project_id == key.project_id, UserAgent.name == again.agent_name)
        .with_for_update(key_share=True)
    ).one_or_none()
    if agent is None:
        raise RunNotRetryable(f"Agent {again.agent_name} was deleted: send the message to another one.")
    return Target(agent[0], again.agent_name, agent[1], node_id, epoch)


def _check_first(session: Session, run: Run) -> None:
    """Refuse to do at once, or once more, what another retry of the same run does, or has done."""
    other = session.scalars(
        select(Run.id)
        .where(
            Run.session_id == run.session_id,
            Run.retry_of == run.id,
            or_(Run.finished_at.is_(None), Run.status == RunStatus.COMPLETED),
        )
        .limit(1)
    ).one_or_none()
    if other is not None:
        raise RunNotRetryable(f"Run {other} does it again.")


def _on_queue(key: WorkspaceKey, again: Again) -> ColumnElement[bool]:
    return and_(Task.project_id == key.project_id, Task.agent_name == again.agent_name)


def _write(session: Session, key: WorkspaceKey, again: Again, accepted: Accepted, repeat: Repeat | None) -> None:
    now = utc_now()
    held = accepted.status is TaskStatus.HELD
    planned = again.run.mode is RunMode.ORCHESTRATED
    place = {"project_id": key.project_id, "session_id": accepted.session_id, "created_at": now}
    session.add(
        Run(
            **place,
            id=accepted.run_id,
            mode=again.run.mode,
            status=RunStatus.PLANNING if planned else RunStatus.QUEUED,
            plan=again.plan,
            retry_of=again.run.id,
            message_of=again.run.message_of or again.run.id,
            idempotency_key=repeat.key if repeat else None,
            idempotency_digest=repeat.digest if repeat else None,
            receipt=accepted.receipt if repeat else None,
        )
    )
    session.flush()
    session.add(
        Task(
            **place,
            id=accepted.task_id,
            run_id=accepted.run_id,
            agent_id=None if planned else accepted.target.agent_id,
            agent_name=again.agent_name,
            agent_version=accepted.target.agent_version,
            plan_task_id=PLANNING_ID if planned else None,
            status=accepted.status,
            held_reason=accepted.held_reason,
            sent_at=None if held else now,
            send_count=0 if held else 1,
        )
    )
    session.flush()
