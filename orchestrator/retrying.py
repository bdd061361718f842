"""Doing again what a run has no result of, with the results that there are."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Run, Task, new_id
from models.statuses import RunMode, TaskStatus
from models.tenancy import Database
from orchestrator.planning import Estimator, Team, TeamMember
from orchestrator.plans.edits import EditedPlan, PlanEdits, edit
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.mermaid import mermaid
from orchestrator.plans.plan import Plan
from orchestrator.viewing import plan_of, plan_view, task_ids
from workspace.errors import NotFound, RunNotRetryable
from workspace.idempotency import Repeat, Repeated, find_repeat
from workspace.intake import Accepted
from workspace.names import ORCHESTRATOR, WorkspaceKey
from workspace.plans.view import PlanDuration, PlanSource, PlanTask, PlanView, Range
from workspace.requested import request_of
from workspace.retry_intake import RETRYABLE, Again, RetryIntake

_NOTHING = Range(p50=0, p90=0)


class CarriedResult(NamedTuple):
    """What a task of an earlier run came to; its copy in the retry is completed from the beginning."""

    text: str


def carried_results(session: Session, retry_of: UUID, plan: Plan) -> dict[str, CarriedResult]:
    """Return the results of an earlier run that a retry of it begins with, by the ids of the plan's tasks."""
    rows = session.execute(
        select(Task.plan_task_id, Task.result).where(
            Task.run_id == retry_of,
            Task.status == TaskStatus.COMPLETED,
            Task.plan_task_id.in_([task.id for task in plan.tasks]),
        )
    ).all()
    return {str(name): CarriedResult(text or "") for name, text in rows}


class Retrying:
    """Accepts retries."""

    def __init__(self, database: Database, intake: RetryIntake, team: Team, estimator: Estimator) -> None:
        self._database = database
        self._intake = intake
        self._team = team
        self._estimator = estimator

    def accept(self, key: WorkspaceKey, run_id: UUID, repeat: Repeat | None) -> Accepted | Repeated:
        """Store a run that does again what another one has no result of.

        What was planned and had begun goes on under the same plan, which nobody is asked about again as long as its
        agents are the same; what was not is planned anew. A direct run is done again as a whole.

        Raises:
            NotFound: no such run in the project.
            RunNotRetryable: it is at work, or has its answer, or cannot be done again.
            AgentQueueFull: as many tasks wait as may.
            IdempotencyConflict: the key came with another request before.
        """
        with self._database.tenant_session(key.user_id) as session:
            run = session.scalars(select(Run).where(Run.id == run_id, Run.project_id == key.project_id)).one_or_none()
            if run is None:
                raise NotFound
            if repeat and (before := find_repeat(session, repeat)):
                return before
            _check(run)
            message_id = request_of(session, run).id
            done = None
            if run.mode is RunMode.DIRECT:
                agent_name = session.scalars(select(Task.agent_name).where(Task.run_id == run_id)).one()
            else:
                agent_name, done = ORCHESTRATOR, _done(session, run)
        plan = None
        if done is not None:
            plan = self._plan(key, PlanView.model_validate(run.plan), done).model_dump(mode="json")
        again = Again(run=run, message_id=message_id, agent_name=agent_name, plan=plan)
        return self._intake.accept(key, again, repeat)

    def _plan(self, key: WorkspaceKey, old: PlanView, done: frozenset[str]) -> PlanView:
        """Return the plan of a retry: the same one, where what is done already takes nothing any more."""
        plan, team = plan_of(old), self._team.of(key)
        left = self._left(key, plan, done, team)
        ids = task_ids(PlanGraph.of(plan))
        shown = {task.id: task for task in left.tasks} if left else {}
        tasks = [_as_before(task, shown.get(task.id), ids[task.id]) for task in old.tasks]
        return PlanView(
            plan_id=new_id(),
            source=PlanSource.RETRY,
            rationale=old.rationale,
            tasks=tuple(tasks),
            estimated_duration=(
                left.estimated_duration if left else PlanDuration(parallel=_NOTHING, sequential=_NOTHING)
            ),
            estimated_cost=left.estimated_cost if left else _NOTHING,
            critical_path=left.critical_path if left else (),
            mermaid=mermaid(plan),
        )

    def _left(self, key: WorkspaceKey, plan: Plan, done: frozenset[str], team: Sequence[TeamMember]) -> PlanView | None:
        """Return what is left of a plan as a plan of its own, estimated anew; `None` if only its answer is missing.

        Raises:
            RunNotRetryable: an agent that it needs is gone.
        """
        if len(done) == len(plan.tasks):
            return None
        found = edit(plan, PlanEdits(drop=done), [member.roster.name for member in team])
        if not isinstance(found, EditedPlan):
            raise RunNotRetryable(" ".join(mistake.text for mistake in found))
        estimate = self._estimator.estimate(key, found.plan, team)
        return plan_view(found.plan, PlanSource.RETRY, estimate, team)


def _check(run: Run) -> None:
    if run.finished_at is None:
        raise RunNotRetryable("The run is not finished: it can be done again when it has ended without its answer.")
    if run.status not in RETRYABLE:
        raise RunNotRetryable("The run has its answer.")


def _done(session: Session, run: Run) -> frozenset[str] | None:
    """Return the tasks of an earlier run that have a result; `None` if it never came to do its plan.

    A plan that was not launched was not allowed to run, so its owner is asked again about a new one.
    """
    if run.plan is None:
        return None
    plan = plan_of(PlanView.model_validate(run.plan))
    names = [task.id for task in plan.tasks]
    launched = select(Task.id).where(Task.run_id == run.id, Task.plan_task_id.in_(names)).limit(1)
    if session.scalars(launched).first() is None:
        return None
    return frozenset(carried_results(session, run.id, plan))


def _as_before(old: PlanTask, left: PlanTask | None, task_id: UUID) -> PlanTask:
    """Return a task of the new plan, with what it depended on."""
    changes: Mapping[str, object] = (
        {"task_id": task_id, "estimated_duration": _NOTHING, "estimated_cost": _NOTHING, "samples": 0}
        if left is None
        else {
            "task_id": task_id,
            "agent_id": left.agent_id,
            "estimated_duration": left.estimated_duration,
            "estimated_cost": left.estimated_cost,
            "samples": left.samples,
        }
    )
    return old.model_copy(update=changes)
