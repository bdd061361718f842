"""Ending runs before their answer.

What no node works on yet is ended in the rows at once. What a node works on is marked: the node is told, stops within
the second, writes what the agent said so far and settles the run; if the node is lost, the sweeper settles it. A reset
and the end of an agent wait for no node: they end that in the rows, too.

Rows are locked in the order that a finish takes them: tasks first, those of older runs first, then their runs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, literal, select, update
from sqlalchemy.orm import Session

from models import Run, Task, Workspace, utc_now
from models.statuses import CancelReason, RunMode, RunStatus, TaskStatus, WorkspaceState
from models.tenancy import Database
from workspace.approvals.closing import ClosedApproval, close_tasks
from workspace.errors import AgentDeleted, Cancelled, DeadlineExceeded, NotFound, RunFailure
from workspace.events import Failure
from workspace.ledger import QueuedTask, release_next
from workspace.leftovers import KeptText, keep_text, keep_usage
from workspace.names import WorkspaceKey
from workspace.plans.edges import FollowUps
from workspace.plans.ended import EndedPlan
from workspace.plans.outcome import outcome_of
from workspace.plans.view import PlanOutcome

_DETAILS: Final = {
    CancelReason.REQUESTED: "The run was cancelled.",
    CancelReason.INTERRUPTED: "A newer message of the session took the run's place.",
    CancelReason.RESET: "The workspace was reset.",
}
_AT_ONCE: Final = frozenset({CancelReason.RESET, CancelReason.AGENT_DELETED})
"""Reasons that end also what a node works on in the rows at once: what the node still writes is refused."""

_KEEPS_TEXT: Final = frozenset({CancelReason.REQUESTED, CancelReason.INTERRUPTED})
"""Reasons for which what an agent said before stays, as it does where a node works on it."""


def failure_of(reason: CancelReason) -> RunFailure:
    """Return what a run that was ended for `reason` ends with."""
    if reason is CancelReason.TOO_OLD:
        return DeadlineExceeded("The run reached the age that a run may have.")
    if reason is CancelReason.AGENT_DELETED:
        return AgentDeleted()
    return Cancelled(_DETAILS[reason])


def end_status(reason: CancelReason | None) -> tuple[TaskStatus, RunStatus]:
    """Return the statuses of a task and a run that were ended for `reason`."""
    if reason is CancelReason.TOO_OLD:
        return TaskStatus.FAILED, RunStatus.FAILED
    return TaskStatus.CANCELLED, RunStatus.CANCELLED


@dataclass(frozen=True)
class EndedRun:
    """A run that ended here and has to be told of."""

    run_id: UUID
    session_id: UUID
    mode: RunMode
    outcome: PlanOutcome | None = None
    """What became of its plan, if it had one."""


class EndedTask(NamedTuple):
    """A task of a plan that ended alone, and has to be told of."""

    task_id: UUID
    session_id: UUID
    run_id: UUID
    agent_name: str
    plan_task_id: str


@dataclass
class Ending:
    """What came of ending runs."""

    reason: CancelReason
    ended: list[EndedRun] = field(default_factory=list)
    at_work: list[UUID] = field(default_factory=list)
    """Tasks that a node works on: it has to be told."""
    released: list[QueuedTask] = field(default_factory=list)
    """What may start now; it has to be sent."""
    closed: list[ClosedApproval] = field(default_factory=list)
    """What was asked of the owner and is needed no more; it has to be told of."""
    kept: list[KeptText] = field(default_factory=list)
    """What agents had said; it has to be told of."""
    ended_tasks: list[EndedTask] = field(default_factory=list)
    """Tasks of plans that go on without them."""
    follow_ups: FollowUps = field(default_factory=FollowUps)
    """What follows in those plans; it has to be sent and told of."""
    over: list[EndedPlan] = field(default_factory=list)
    """Runs that ended with such a task, because their own end was asked for."""

    @property
    def status(self) -> RunStatus:
        """The status of the runs that ended."""
        return end_status(self.reason)[1]

    @property
    def failure(self) -> Failure:
        """Why they ended, as a client is told."""
        return Failure.of(failure_of(self.reason))


def end_runs(session: Session, key: WorkspaceKey, runs: Collection[UUID], reason: CancelReason) -> Ending:
    """End runs of one workspace, in the caller's transaction.

    Args:
        runs: those to end; the ones that have ended are left as they are.
        reason: why.
    """
    ending = Ending(reason)
    tasks = lock_tasks(session, Task.run_id.in_(runs))
    ending.at_work = [task.id for task in tasks if task.status is TaskStatus.RUNNING]
    spared = set() if reason in _AT_ONCE else set(ending.at_work)
    working = {task.run_id for task in tasks if task.id in spared}
    ends = [task.id for task in tasks if task.id not in spared]
    _end_tasks(session, ends, ending)
    ending.closed = close_tasks(session, ends)
    if reason in _KEEPS_TEXT:
        ending.kept = keep_text(session, ends)
    _mark(session, working, reason)
    ended = _end_idle(session, [run for run in runs if run not in working], ending)
    keep_usage(session, [run.run_id for run in ended])
    ending.ended = [_with_outcome(session, run) for run in ended]
    for session_id in {run.session_id for run in ending.ended}:
        if task := release_next(session, key, session_id):
            ending.released.append(task)
    return ending


def unfinished_runs(session: Session, *where: Any) -> Sequence[UUID]:
    """Return the runs that have not ended, oldest first, within the session's tenant."""
    return session.scalars(select(Run.id).where(Run.finished_at.is_(None), *where).order_by(Run.id)).all()


def lock_tasks(session: Session, *where: Any) -> Sequence[Any]:
    """Lock the tasks that have not settled: whoever changes or deletes their runs as well begins with this.

    Returns:
        Their id, run_id and status, by run and oldest first.
    """
    unsettled = (
        select(Task.id, Task.run_id, Task.status)
        .where(*where, Task.status.in_(TaskStatus.active()))
        # A plan's tasks are made at its launch, and may be younger than what the session holds for its end, which
        # locks them first.
        .order_by(Task.run_id, Task.id)
        .with_for_update(key_share=True)
    )
    session.execute(unsettled).all()
    # The first look may have waited for a launch, and has not seen the tasks that it wrote. No other one can come: each
    # planning task is locked, or has ended.
    return session.execute(unsettled).all()


def _end_tasks(session: Session, tasks: Collection[UUID], ending: Ending) -> None:
    session.execute(
        update(Task)
        .where(Task.id.in_(tasks))
        .values(
            # One of a plan that was not due yet has not failed, whatever its run does.
            status=case(
                (Task.status == TaskStatus.PENDING, _as_status(TaskStatus.CANCELLED)),
                else_=_as_status(end_status(ending.reason)[0]),
            ),
            finished_at=utc_now(),
            error=ending.failure.model_dump(mode="json"),
            recalled=None,
        )
        .execution_options(synchronize_session=False)
    )


def _as_status(status: TaskStatus) -> ColumnElement[Any]:
    """Return a status that is written as its column is: within a CASE nothing else tells its type."""
    return literal(status, Task.status.type)


def _mark(session: Session, runs: Collection[UUID], reason: CancelReason) -> None:
    """Ask for the end of runs that a node works on; the first reason stays."""
    session.execute(
        update(Run)
        .where(Run.id.in_(runs), Run.finished_at.is_(None), Run.cancel_requested_at.is_(None))
        .values(cancel_requested_at=utc_now(), cancel_reason=reason)
        .execution_options(synchronize_session=False)
    )


def _end_idle(session: Session, runs: Collection[UUID], ending: Ending) -> list[EndedRun]:
    rows = session.execute(
        update(Run)
        .where(Run.id.in_(runs), Run.finished_at.is_(None))
        .values(
            status=ending.status,
            finished_at=utc_now(),
            cancel_requested_at=utc_now(),
            cancel_reason=ending.reason,
            error=ending.failure.model_dump(mode="json"),
        )
        .returning(Run.id, Run.session_id, Run.mode)
        .execution_options(synchronize_session=False)
    ).all()
    return [EndedRun(*row) for row in rows]


def _with_outcome(session: Session, ended: EndedRun) -> EndedRun:
    """Write what became of the plan of a run that ended here, if it has one."""
    if ended.mode is not RunMode.ORCHESTRATED:
        return ended
    run = session.scalars(select(Run).where(Run.id == ended.run_id).execution_options(populate_existing=True)).one()
    tasks = session.scalars(
        select(Task).where(Task.run_id == ended.run_id).order_by(Task.id).execution_options(populate_existing=True)
    ).all()
    outcome = outcome_of(run, tasks)
    if outcome is not None:
        run.outcome = outcome.model_dump(mode="json")
        session.flush()
    return replace(ended, outcome=outcome)


class Cancellation:
    """Ends runs on somebody's request, each request in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cancel_run(self, key: WorkspaceKey, run_id: UUID, reason: CancelReason = CancelReason.REQUESTED) -> Ending:
        """End one run; ending it again changes nothing.

        Raises:
            NotFound: no such run in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            known = session.scalar(select(Run.id).where(Run.id == run_id, Run.project_id == key.project_id))
            if known is None:
                raise NotFound
            ending = end_runs(session, key, [run_id], reason)
            session.commit()
        return ending

    def reset(self, key: WorkspaceKey) -> Ending:
        """End every run of a workspace now, those that a node works on included, and begin a new epoch.

        The new epoch is what makes it certain: whatever a node still says of the old one is refused.

        Raises:
            NotFound: the project was deleted.
        """
        with self._database.tenant_session(key.user_id) as session:
            runs = unfinished_runs(session, Run.project_id == key.project_id)
            ending = end_runs(session, key, runs, CancelReason.RESET)
            moved = session.scalar(
                update(Workspace)
                .where(Workspace.project_id == key.project_id)
                .values(
                    epoch=Workspace.epoch + 1,
                    state=case((Workspace.node_id.is_(None), Workspace.state), else_=WorkspaceState.INITIALIZING),
                )
                .returning(Workspace.epoch)
                .execution_options(synchronize_session=False)
            )
            if moved is None:
                raise NotFound
            session.commit()
        return ending
