"""Plans are estimated by what their own agents' own tasks took, and nobody else's."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text

from models import Run, Task, new_id, utc_now
from models.statuses import RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from orchestrator.config import OrchestratorConfig
from orchestrator.history import SAMPLES, HistoryEstimator
from orchestrator.plans.plan_estimate import PlanEstimate
from orchestrator.plans.task_estimate import PRIOR_SECONDS, TaskEstimate, TaskSample, estimate_task, prior_of
from orchestrator.team import TeamStore
from settings import ModelPrice, Settings
from tests.integration.core.world import World, make_world
from tests.unit.orchestrator.graphs import plan_of
from workspace.names import CLOSING_ID, ORCHESTRATOR

pytestmark = pytest.mark.stack

PRICE = ModelPrice(input=Decimal(1), output=Decimal(4))
NOW = utc_now()


@pytest.fixture
def priced(settings: Settings) -> Settings:
    return settings.model_copy(update={"default_model": "the-default", "model_prices": {"the-default": PRICE}})


@pytest.fixture
def team(database: Database) -> TeamStore:
    return TeamStore(database, default_model="the-default")


@pytest.fixture
def estimator(database: Database, priced: Settings) -> HistoryEstimator:
    return HistoryEstimator(database, priced)


def run_of(world: World, **values: Any) -> Run:
    of = {"user_id": world.key.user_id, "project_id": world.key.project_id, "session_id": world.session_id}
    fields = {"mode": RunMode.DIRECT, "status": RunStatus.COMPLETED, "finished_at": NOW, "announced_at": NOW}
    run = Run(id=new_id(), **of, **(fields | values))
    world.add(run)
    return run


def used(tokens: int, cost: str | None = "0.01") -> dict[str, Any]:
    return {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens, "cost_usd": cost}


def past(
    world: World,
    seconds: float,
    *,
    agent: UUID | None = None,
    tokens: int = 1_000,
    at: datetime = NOW,
    run: Run | None = None,
    **values: Any,
) -> None:
    """A task that has ended."""
    run = run or run_of(world)
    of = {"user_id": world.key.user_id, "project_id": world.key.project_id, "session_id": world.session_id}
    fields = {
        "agent_id": agent or world.agent_id,
        "agent_name": "helper",
        "agent_version": 1,
        "status": TaskStatus.COMPLETED,
        "usage": used(tokens),
        "started_at": at - timedelta(seconds=seconds),
        "finished_at": at,
        "remembered_at": at,
    }
    world.add(Task(id=new_id(), run_id=run.id, **of, **(fields | values)))


def estimate(
    estimator: HistoryEstimator, team: TeamStore, world: World, dependencies: Any, **agents: str
) -> PlanEstimate:
    members = team.of(world.key)
    plan = plan_of(dependencies, **{name: agents.get(name, "helper") for name in dependencies})
    return estimator.estimate(world.key, plan, members)


def expected(*samples: tuple[float, int], cost: str = "0.01", price: ModelPrice | None = PRICE) -> TaskEstimate:
    made = [TaskSample(seconds=each, cost_usd=Decimal(cost), tokens=tokens) for each, tokens in samples]
    return estimate_task(prior_of(price), made)


def alike(one: TaskEstimate, other: TaskEstimate) -> bool:
    """Whether two estimates come from the same samples, in whatever order these were added up."""
    pairs = [(one.seconds, other.seconds), (one.tokens, other.tokens), (one.cost_usd, other.cost_usd)]
    figures = [(a.p50, b.p50) for a, b in pairs if a and b] + [(a.p90, b.p90) for a, b in pairs if a and b]
    same = all(mine == pytest.approx(its) for mine, its in figures)
    return same and one.samples == other.samples and (one.cost_usd is None) == (other.cost_usd is None)


def test_without_a_history_the_assumed_figures_count(
    estimator: HistoryEstimator, team: TeamStore, world: World
) -> None:
    found = estimate(estimator, team, world, {"a": []})
    assert found.tasks["a"].seconds == PRIOR_SECONDS
    assert found.tasks["a"].samples == 0
    assert found.cost_usd is not None


def test_an_agent_is_estimated_by_its_own_completed_tasks(
    estimator: HistoryEstimator, team: TeamStore, world: World, database: Database
) -> None:
    slow = world.agent("slow")
    for seconds in (1, 2, 3):
        past(world, seconds, tokens=100 * seconds)
    past(world, 100, agent=slow, tokens=50_000)
    for status in (TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED):
        past(world, 500, status=status)
    past(make_world(database), 700)
    found = estimate(estimator, team, world, {"a": [], "b": ["a"]}, b="slow")
    assert alike(found.tasks["a"], expected((1, 100), (2, 200), (3, 300)))
    assert alike(found.tasks["b"], expected((100, 50_000)))


def test_waiting_for_a_person_is_not_in_it_and_earlier_starts_are(
    estimator: HistoryEstimator, team: TeamStore, world: World
) -> None:
    past(world, 2, ran_seconds=40)
    assert alike(estimate(estimator, team, world, {"a": []}).tasks["a"], expected((42, 1_000)))


def test_only_the_last_tasks_count(estimator: HistoryEstimator, team: TeamStore, world: World) -> None:
    run = run_of(world)
    for number in range(SAMPLES + 10):
        old = number < 10
        past(world, 900 if old else 1, at=NOW + timedelta(seconds=number), run=run, plan_task_id=f"t{number}")
    found = estimate(estimator, team, world, {"a": []}).tasks["a"]
    assert alike(found, expected(*[(1, 1_000)] * SAMPLES))


def test_without_a_price_there_is_no_cost_but_a_duration(
    estimator: HistoryEstimator, team: TeamStore, world: World
) -> None:
    world.agent("free", model="unknown")
    found = estimate(estimator, team, world, {"a": [], "b": ["a"]}, b="free")
    assert found.tasks["b"].cost_usd is None
    assert found.tasks["a"].cost_usd is not None
    assert found.cost_usd is None


def test_a_closing_answer_counts_where_several_tasks_are_last(
    estimator: HistoryEstimator, team: TeamStore, world: World
) -> None:
    alone = estimate(estimator, team, world, {"a": [], "b": ["a"]})
    assert CLOSING_ID not in alone.tasks
    several = estimate(estimator, team, world, {"a": [], "b": []})
    assert several.tasks[CLOSING_ID].samples == 0
    assert several.sequential_seconds.p50 > alone.sequential_seconds.p50


def test_closing_answers_are_estimated_by_those_that_a_model_wrote(
    estimator: HistoryEstimator, team: TeamStore, world: World, database: Database
) -> None:
    def closing(place: World, seconds: float, tokens: int) -> None:
        run = run_of(place, mode=RunMode.ORCHESTRATED, outcome={"tasks": [], "duration": 1, "cost": None})
        past(place, seconds, run=run, tokens=tokens, agent_id=None, agent_name=ORCHESTRATOR, plan_task_id=CLOSING_ID)

    closing(world, 4, 700)
    closing(world, 0, 0)  # its answer was the text of the last task
    closing(world.project(), 90, 9_000)
    closing(make_world(database), 90, 9_000)
    found = estimate(estimator, team, world, {"a": [], "b": []})
    assert alike(found.tasks[CLOSING_ID], expected((4, 700)))


def test_closing_answers_cost_what_the_projects_own_model_costs(
    estimator: HistoryEstimator, team: TeamStore, world: World
) -> None:
    team.replace(world.key, OrchestratorConfig(model="unknown"))
    found = estimate(estimator, team, world, {"a": [], "b": []})
    assert found.tasks[CLOSING_ID].cost_usd is None
    assert found.cost_usd is None


def test_all_agents_are_asked_about_in_one_query_that_an_index_answers(
    estimator: HistoryEstimator, team: TeamStore, world: World
) -> None:
    agents = {f"t{number}": f"agent-{number}" for number in range(8)}
    for name in agents.values():
        world.agent(name)
    members = team.of(world.key)
    plan = plan_of({**{name: [] for name in agents}, "last": list(agents)}, **agents, last="helper")
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    engine = world.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        estimator.estimate(world.key, plan, members)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = seen
    with engine.connect() as connection:
        # What statistics say of a few rows changes all the time. Without these ways, only an index that has each
        # agent's tasks in their order is left.
        for way in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
            connection.execute(text(f"SET enable_{way} = off"))
        lines = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
    assert any("ix_tasks_completed" in line for line in lines), lines
