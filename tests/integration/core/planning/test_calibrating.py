"""Estimates are put beside what came of them, from the rows of the project's own last runs."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from models import Run, new_id, utc_now
from models.statuses import RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from orchestrator.calibrating import Calibrations, observe
from orchestrator.plans.calibration import Judged, calibration
from orchestrator.plans.spread import Spread
from tests.integration.core.world import World, make_world
from workspace.plans.view import (
    PlanDuration,
    PlanOutcome,
    PlanSource,
    PlanTask,
    PlanView,
    Range,
    TaskOutcomeView,
)

pytestmark = pytest.mark.stack

NOW = utc_now()
TEN = Range(p50=10, p90=20)
CENT = Range(p50=0.01, p90=0.02)
SPREAD, COST = Spread(p50=10, p90=20), Spread(p50=0.01, p90=0.02)


def view(*names: str, source: PlanSource = PlanSource.MODEL, cost: Range | None = CENT) -> PlanView:
    tasks = [
        PlanTask(
            task_id=new_id(),
            id=name,
            agent_id=new_id(),
            agent_name="helper",
            instruction="Do it.",
            depends_on=(),
            why_this_agent="It can.",
            estimated_duration=TEN,
            estimated_cost=cost,
            samples=0,
        )
        for name in names
    ]
    return PlanView(
        plan_id=new_id(),
        source=source,
        rationale="So it goes.",
        tasks=tuple(tasks),
        estimated_duration=PlanDuration(parallel=TEN, sequential=Range(p50=99, p90=99)),
        estimated_cost=cost,
        critical_path=names[:1],
        mermaid="graph TD\n",
    )


def ended(
    plan: PlanView,
    *durations: float | None,
    cost: str | None = "0.01",
    statuses: tuple[TaskStatus, ...] = (),
    total: float = 15,
) -> PlanOutcome:
    statuses = statuses or (TaskStatus.COMPLETED,) * len(plan.tasks)
    money = None if cost is None else Decimal(cost)
    tasks = [
        TaskOutcomeView(
            task_id=task.task_id,
            id=task.id,
            agent_name=task.agent_name,
            status=status,
            because_of=(),
            detail=None,
            duration=duration,
            cost=money,
        )
        for task, status, duration in zip(plan.tasks, statuses, durations, strict=True)
    ]
    return PlanOutcome(tasks=tuple(tasks), duration=total, cost=money)


def keep(world: World, plan: PlanView, outcome: PlanOutcome | None, *, minutes_ago: int = 0) -> None:
    """A run with a plan; without an outcome it has not ended."""
    at = NOW - timedelta(minutes=minutes_ago)
    status = RunStatus.RUNNING if outcome is None else RunStatus.COMPLETED
    world.add(
        Run(
            id=new_id(),
            user_id=world.key.user_id,
            project_id=world.key.project_id,
            session_id=world.session_id,
            mode=RunMode.ORCHESTRATED,
            status=status,
            plan=plan.model_dump(mode="json"),
            outcome=None if outcome is None else outcome.model_dump(mode="json"),
            finished_at=None if outcome is None else at,
            announced_at=at,
        )
    )


@pytest.fixture
def calibrations(database: Database) -> Calibrations:
    return Calibrations(database)


def test_tasks_and_plans_are_judged_by_their_own_estimates(calibrations: Calibrations, world: World) -> None:
    plan = view("a", "b")
    keep(world, plan, ended(plan, 5.0, 30.0, total=25))
    found = calibrations.of(world.key, 10)
    assert found.runs == 1
    assert found.task_durations == [Judged(SPREAD, 5.0), Judged(SPREAD, 30.0)]
    assert found.task_costs == [Judged(COST, 0.01)] * 2
    assert found.plan_durations == [Judged(SPREAD, 25.0)]
    assert found.plan_costs == [Judged(COST, 0.01)]
    assert calibration(found.task_durations).within_p90 == 0.5


def test_what_was_not_completed_says_nothing_of_its_estimate(calibrations: Calibrations, world: World) -> None:
    plan = view("a", "b", "c")
    statuses = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED)
    keep(world, plan, ended(plan, 5.0, 99.0, None, statuses=statuses))
    found = calibrations.of(world.key, 10)
    assert found.task_durations == [Judged(SPREAD, 5.0)]
    assert found.plan_durations == found.plan_costs == []
    assert found.runs == 1


@pytest.mark.parametrize(("estimate", "actual"), [(None, "0.01"), (CENT, None), (None, None)])
def test_without_a_price_only_durations_are_judged(
    calibrations: Calibrations, world: World, estimate: Range | None, actual: str | None
) -> None:
    plan = view("a", cost=estimate)
    keep(world, plan, ended(plan, 5.0, cost=actual))
    found = calibrations.of(world.key, 10)
    assert found.task_costs == found.plan_costs == []
    assert len(found.task_durations) == len(found.plan_durations) == 1


def test_a_run_that_repeats_another_is_not_judged(calibrations: Calibrations, world: World) -> None:
    plan = view("a", source=PlanSource.RETRY)
    keep(world, plan, ended(plan, 5.0))
    assert calibrations.of(world.key, 10).task_durations == []


def test_only_the_last_runs_that_have_ended_are_looked_at(calibrations: Calibrations, world: World) -> None:
    plan = view("a")
    for minutes, seconds in ((3, 30.0), (2, 20.0), (1, 10.0)):
        keep(world, plan, ended(plan, seconds), minutes_ago=minutes)
    keep(world, plan, None)
    found = calibrations.of(world.key, 2)
    assert [each.actual for each in found.task_durations] == [10.0, 20.0]


def test_nobody_elses_runs_are_looked_at(calibrations: Calibrations, world: World, database: Database) -> None:
    plan = view("a")
    for other in (world.project(), make_world(database)):
        keep(other, plan, ended(plan, 5.0))
    assert calibrations.of(world.key, 10).runs == 0
    assert calibrations.of(world.key._replace(user_id=make_world(database).key.user_id), 10).runs == 0


def test_the_end_of_a_run_is_counted_by_what_was_estimated(counted: Callable[..., float]) -> None:
    def ratios(**labels: Any) -> tuple[float, float]:
        return counted("estimate_ratio_count", **labels), counted("estimate_ratio_sum", **labels)

    plan = view("a", "b")
    observe(plan, ended(plan, 5.0, 30.0, total=25))
    assert ratios(kind="task", figure="duration") == (2, pytest.approx(3.5))
    assert ratios(kind="task", figure="cost") == (2, pytest.approx(2.0))
    assert ratios(kind="plan", figure="duration") == (1, pytest.approx(2.5))
    assert ratios(kind="plan", figure="cost") == (1, pytest.approx(1.0))


def test_an_estimate_of_nought_has_no_ratio(counted: Callable[..., float]) -> None:
    plan = view("a", cost=Range(p50=0, p90=0))
    observe(plan, ended(plan, 5.0))
    assert counted("estimate_ratio_count", kind="task", figure="cost") == 0
    assert counted("estimate_ratio_count", kind="task", figure="duration") == 1
