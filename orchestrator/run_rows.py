"""The rows of an orchestrated run as its planning task moves them; each move is one transaction under the epoch check.

All of them may be tried again when the answer to a commit was lost: what is there already is found, not made anew.
"""

from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models import ApprovalRequest, Json, Run, Task
from models.statuses import TaskStatus
from models.tenancy import Database
from orchestrator.plan_approvals import Approved, Declined, PlanApprovals
from workspace.cancellation import failure_of
from workspace.errors import WorkerLost
from workspace.events import Usage
from workspace.interruptible import Interrupted
from workspace.ledger import StartedTask
from workspace.own_task import is_own
from workspace.plans.standing import stand
from workspace.plans.view import PlanSource, PlanView


class Standing(NamedTuple):
    """How far a run has come when its planning task starts."""

    view: PlanView | None
    """Its plan, if it was made before."""
    verdict: Approved | Declined | None
    """What its owner answered, if asked."""
    was_allowed: bool
    """Whether this plan, for these very agents, was at work before: the run does again what another one left."""
    usage: Usage
    """Of planning."""


class RunRows:
    """Reads and moves them."""

    def __init__(self, database: Database, approvals: PlanApprovals) -> None:
        self._database = database
        self._approvals = approvals

    def standing(self, task: StartedTask) -> Standing:
        """Return how far the run of a planning task has come."""
        with self._database.tenant_session(task.key.user_id) as session:
            plan, retry_of, usage = session.execute(
                select(Run.plan, Run.retry_of, Task.usage).join(Task, Task.run_id == Run.id).where(Task.id == task.id)
            ).one()
            view = PlanView.model_validate(plan) if plan is not None else None
            before = session.scalar(select(Run.plan).where(Run.id == retry_of)) if retry_of else None
            verdict = self._approvals.verdict(session, task.id) if view else None
        was_allowed = view is not None and before is not None and _does_again(view, PlanView.model_validate(before))
        return Standing(view, verdict, was_allowed, Usage.model_validate(usage))

    def keep_plan(self, task: StartedTask, view: PlanView, usage: Usage) -> PlanView:
        """Write a run's plan and what planning used; returns the plan that the run has, which is the first one.

        Raises:
            Interrupted: the task is not this node's any more, or the end of its run was asked for.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            kept = _lock_wanted(session, task)
            if kept is not None:
                return PlanView.model_validate(kept)
            plan = view.model_dump(mode="json")
            _change_run(session, task, plan=plan, started_at=func.coalesce(Run.started_at, task.started_at))
            _change(session, task, usage=usage.model_dump(mode="json"))
            session.commit()
        return view

    def change_plan(self, task: StartedTask, view: PlanView) -> None:
        """Replace a run's plan by what its owner made of it.

        Raises:
            Interrupted: as `keep_plan`.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            _lock_wanted(session, task)
            _change_run(session, task, plan=view.model_dump(mode="json"))
            session.commit()

    def park(
        self, task: StartedTask, view: PlanView, reasons: tuple[str, ...], *, again: bool = False
    ) -> ApprovalRequest:
        """Ask the owner of a plan and let its planning task wait for the answer.

        Args:
            again: whether the answer to a try before this one was lost: it may have gone through.

        Raises:
            Interrupted: as `keep_plan`.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            if again and _is_parked(session, task):
                return self._approvals.ask(session, task, view, reasons)
            _lock_wanted(session, task)
            approval = self._approvals.ask(session, task, view, reasons)
            _change(
                session,
                task,
                status=TaskStatus.WAITING,
                node_id=None,
                epoch=None,
                ran_seconds=task.running_seconds(),
            )
            stand(session, task.key, task.run_id)
            session.commit()
        return approval


def _does_again(view: PlanView, before: PlanView) -> bool:
    """Whether a plan is for the agents that the one before was for: one made anew under an old name is another."""
    agents = {task.id: task.agent_id for task in before.tasks}
    return view.source is PlanSource.RETRY and all(agents.get(task.id) == task.agent_id for task in view.tasks)


def _lock_wanted(session: Session, task: StartedTask) -> Json | None:
    """Lock a task that this node works on, and its run, which is wanted; returns the plan that the run has.

    Whoever asks for the end of the run later waits for this lock, and finds what is written under it.

    Raises:
        Interrupted: it is not this node's any more, or the end of its run was asked for.
    """
    own = select(Task.id).where(Task.id == task.id, is_own(task)).with_for_update(key_share=True)
    if session.scalar(own) is None:
        raise Interrupted(WorkerLost())
    run = select(Run.cancel_reason, Run.plan).where(Run.id == task.run_id)
    reason, plan = session.execute(run.with_for_update(key_share=True)).one()
    if reason is not None:
        raise Interrupted(failure_of(reason))
    return plan


def _is_parked(session: Session, task: StartedTask) -> bool:
    parked = select(func.count(Task.id)).where(Task.id == task.id, Task.status == TaskStatus.WAITING)
    return session.scalars(parked).one() > 0


def _change(session: Session, task: StartedTask, **values: object) -> None:
    own = update(Task).where(Task.id == task.id)
    session.execute(own.values(**values).execution_options(synchronize_session=False))


def _change_run(session: Session, task: StartedTask, **values: object) -> None:
    own = update(Run).where(Run.id == task.run_id)
    session.execute(own.values(**values).execution_options(synchronize_session=False))
