"""Estimates beside what came of them: when a run ends for the metrics, and of a project's last runs on demand.

A task counts once it is completed, a plan once all its tasks are: what was broken off says nothing of an estimate. The
tasks of a run that repeats others are left out, because some of what it has comes from those.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import select

from models import Run
from models.statuses import TaskStatus
from models.tenancy import Database
from orchestrator.plans.calibration import Judged
from orchestrator.plans.spread import Spread
from workspace.metrics import ESTIMATE_RATIO
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanOutcome, PlanSource, PlanView, Range

AT_ONCE = 20
"""Plans in memory at a time: one may have a quarter of a million characters."""


@dataclass
class Judgements:
    """Estimates of tasks and of plans, each with what came of it. Durations are seconds, costs US dollars."""

    runs: int = 0
    task_durations: list[Judged] = field(default_factory=list)
    task_costs: list[Judged] = field(default_factory=list)
    plan_durations: list[Judged] = field(default_factory=list)
    plan_costs: list[Judged] = field(default_factory=list)

    def add(self, view: PlanView, outcome: PlanOutcome) -> None:
        """Judge one plan, and its tasks."""
        self.runs += 1
        if view.source is PlanSource.RETRY:
            return
        estimates = {task.id: task for task in view.tasks}
        done = [task for task in outcome.tasks if task.status is TaskStatus.COMPLETED]
        for task in done:
            if (estimate := estimates.get(task.id)) is not None:
                _judge(self.task_durations, estimate.estimated_duration, task.duration)
                _judge(self.task_costs, estimate.estimated_cost, task.cost)
        if len(done) == len(outcome.tasks) > 0:
            _judge(self.plan_durations, view.estimated_duration.parallel, outcome.duration)
            _judge(self.plan_costs, view.estimated_cost, outcome.cost)


def observe(view: PlanView, outcome: PlanOutcome) -> None:
    """Count what a run that has ended says of its estimates. What was estimated as nought has no ratio."""
    found = Judgements()
    found.add(view, outcome)
    for kind, figure, judged in (
        ("task", "duration", found.task_durations),
        ("task", "cost", found.task_costs),
        ("plan", "duration", found.plan_durations),
        ("plan", "cost", found.plan_costs),
    ):
        for each in judged:
            if each.estimate.p50:
                ESTIMATE_RATIO.labels(kind, figure).observe(each.actual / each.estimate.p50)


class Calibrations:
    """Judges the estimates of a project's last runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, key: WorkspaceKey, runs: int) -> Judgements:
        """Return what the last runs with a plan that have ended say, so many at most."""
        query = (
            select(Run.plan, Run.outcome)
            .where(Run.project_id == key.project_id, Run.outcome.is_not(None), Run.plan.is_not(None))
            .order_by(Run.finished_at.desc())
            .limit(runs)
            .execution_options(yield_per=AT_ONCE)
        )
        found = Judgements()
        with self._database.tenant_session(key.user_id) as session:
            for plan, outcome in session.execute(query):
                found.add(PlanView.model_validate(plan), PlanOutcome.model_validate(outcome))
        return found


def _judge(judged: list[Judged], estimate: Range | None, actual: float | Decimal | None) -> None:
    if estimate is not None and actual is not None:
        judged.append(Judged(Spread(p50=estimate.p50, p90=estimate.p90), float(actual)))
