"""A plan's view says everything that the plan does, and gives its tasks ids in which their order can be read."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.statuses import TaskStatus
from orchestrator.planning import TeamMember
from orchestrator.plans.closing import closed
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.mermaid import mermaid
from orchestrator.plans.plan import Plan
from orchestrator.plans.plan_estimate import PlanEstimate, estimate_plan
from orchestrator.plans.roster import RosterAgent
from orchestrator.plans.spread import Spread
from orchestrator.plans.task_estimate import TaskEstimate
from orchestrator.viewing import drawn, plan_of, plan_view
from tests.unit.orchestrator.graphs import AGENTS, plans
from tests.unit.orchestrator.graphs import plan_of as made_plan
from workspace.names import CLOSING_ID
from workspace.plans.view import PlanSource, PlanView, Range

TEAM = [
    TeamMember(agent_id=uuid4(), version=1, model="m", roster=RosterAgent(name, (f"of {name}",))) for name in AGENTS
]


def a_task(seconds: float, *, cost: float | None = 0.5) -> TaskEstimate:
    return TaskEstimate(
        seconds=Spread.of(seconds, 0.5),
        tokens=Spread.of(100, 0.1),
        cost_usd=None if cost is None else Spread.of(cost, 0.5),
        samples=3,
    )


def estimated(plan: Plan, *, cost: float | None = 0.5, closing: bool = False) -> PlanEstimate:
    graph = PlanGraph.of(plan)
    graph = closed(graph) if closing else graph
    return estimate_plan(graph, {node: a_task(10.0 + place, cost=cost) for place, node in enumerate(graph.nodes)})


def viewed(plan: Plan, **options: bool) -> PlanView:
    return plan_view(plan, PlanSource.MODEL, estimated(plan, **options), TEAM)


@given(plans())
def test_the_ids_of_tasks_ascend_from_each_to_those_that_wait_for_it(plan: Plan) -> None:
    view = viewed(plan)
    ids = {task.id: task.task_id for task in view.tasks}
    assert len(set(ids.values())) == len(plan.tasks)
    assert all(ids[needed] < ids[task.id] for task in plan.tasks for needed in task.depends_on)
    assert sorted(ids, key=lambda each: ids[each]) == list(PlanGraph.of(plan).order)


@given(plans())
def test_the_plan_is_read_out_of_its_view_as_it_was_also_after_the_view_was_stored(plan: Plan) -> None:
    view = viewed(plan)
    assert plan_of(view) == plan
    assert plan_of(PlanView.model_validate_json(view.model_dump_json())) == plan


@given(plans(), st.data())
def test_a_plan_under_way_is_drawn_with_the_statuses_of_its_tasks(plan: Plan, data: st.DataObject) -> None:
    statuses = {task.id: data.draw(st.sampled_from(TaskStatus)) for task in plan.tasks}
    assert drawn(viewed(plan), {**statuses, CLOSING_ID: TaskStatus.RUNNING}) == mermaid(plan, statuses)


def test_a_task_is_shown_with_its_agent_and_its_own_estimate() -> None:
    plan = made_plan({"a": [], "b": ["a"]}, a="analyst")
    view = viewed(plan)
    first, second = view.tasks
    assert (first.agent_name, first.agent_id) == ("analyst", TEAM[0].agent_id)
    assert (second.agent_name, second.agent_id) == ("writer", TEAM[2].agent_id)
    assert (first.estimated_duration.p50, second.estimated_duration.p50) == (10.0, 11.0)
    assert first.estimated_cost == Range(p50=0.5, p90=Spread.of(0.5, 0.5).p90)
    assert first.samples == 3
    assert second.depends_on == ("a",)


def test_the_view_has_the_sums_of_the_estimate_and_the_picture() -> None:
    plan = made_plan({"a": [], "b": ["a"], "c": ["a"]})
    estimate = estimated(plan)
    view = plan_view(plan, PlanSource.CACHE, estimate, TEAM)
    assert view.source is PlanSource.CACHE
    assert view.rationale == plan.rationale
    assert view.mermaid == mermaid(plan)
    assert view.critical_path == estimate.critical_path == ("a", "c")
    assert view.estimated_duration.parallel.p90 == estimate.parallel_seconds.p90
    assert view.estimated_duration.sequential.p50 == estimate.sequential_seconds.p50
    assert estimate.cost_usd is not None
    assert view.estimated_cost == Range(p50=estimate.cost_usd.p50, p90=estimate.cost_usd.p90)


def test_without_a_price_no_cost_is_shown() -> None:
    plan = made_plan({"a": []})
    view = plan_view(plan, PlanSource.MODEL, estimated(plan, cost=None), TEAM)
    assert view.estimated_cost is view.tasks[0].estimated_cost is None


def test_a_closing_task_counts_in_the_sums_and_is_no_task_of_the_view() -> None:
    plan = made_plan({"a": [], "b": []})
    view = viewed(plan, closing=True)
    assert CLOSING_ID not in view.critical_path
    assert view.critical_path == ("b",)
    assert [task.id for task in view.tasks] == ["a", "b"]
    assert view.estimated_duration.sequential.p50 > viewed(plan).estimated_duration.sequential.p50


def test_two_views_of_one_plan_share_no_id() -> None:
    plan = made_plan({"a": []})
    first, second = viewed(plan), viewed(plan)
    assert first.plan_id != second.plan_id
    assert first.tasks[0].task_id != second.tasks[0].task_id


def test_a_plan_for_an_agent_outside_the_team_has_no_view() -> None:
    plan = made_plan({"a": []}, a="stranger")
    with pytest.raises(KeyError, match="stranger"):
        plan_view(plan, PlanSource.MODEL, estimated(plan), TEAM)
