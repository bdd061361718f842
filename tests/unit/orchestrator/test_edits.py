"""An owner's edits change what is named and nothing else."""

from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.plans.edits import CHOSEN_BY_OWNER, EditedPlan, PlanEdits, edit
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from tests.unit.orchestrator.graphs import AGENTS, plan_of, plans

ROW = plan_of({"find": [], "write": ["find"], "review": ["write"], "publish": ["review"]})


def edited(plan: Plan, **edits: Any) -> EditedPlan:
    found = edit(plan, PlanEdits(**edits), AGENTS)
    assert isinstance(found, EditedPlan)
    return found


def codes(plan: Plan, **edits: Any) -> list[str]:
    found = edit(plan, PlanEdits(**edits), AGENTS)
    assert not isinstance(found, EditedPlan)
    return [mistake.code for mistake in found]


def dependencies(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {task.id: task.depends_on for task in plan.tasks}


def test_without_edits_a_plan_is_the_same() -> None:
    assert edited(ROW) == EditedPlan(ROW, ())


def test_what_depended_on_a_dropped_task_depends_on_what_that_depended_on() -> None:
    found = edited(ROW, drop={"review"})
    assert dependencies(found.plan) == {"find": (), "write": ("find",), "publish": ("write",)}


def test_tasks_that_miss_a_result_are_told() -> None:
    assert edited(ROW, drop={"review"}).bereft == ("publish",)
    assert edited(ROW, drop={"publish"}).bereft == ()


def test_several_in_a_row_may_be_dropped() -> None:
    found = edited(ROW, drop={"write", "review"})
    assert dependencies(found.plan) == {"find": (), "publish": ("find",)}
    assert found.bereft == ("publish",)
    assert dependencies(edited(ROW, drop={"find", "write"}).plan) == {"review": (), "publish": ("review",)}


def test_a_dependency_that_comes_from_two_sides_is_named_once() -> None:
    plan = plan_of({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c", "a"]})
    assert dependencies(edited(plan, drop={"b", "c"}).plan) == {"a": (), "d": ("a",)}


def test_an_instruction_may_be_changed() -> None:
    found = edited(ROW, instructions={"write": "Write it shortly."}).plan
    assert [task.instruction for task in found.tasks] == ["Do it.", "Write it shortly.", "Do it.", "Do it."]


def test_an_agent_may_be_changed_and_the_planners_reason_goes_with_the_old_one() -> None:
    found = edited(ROW, agents={"write": "analyst", "find": "writer"}).plan
    assert [task.agent for task in found.tasks] == ["writer", "analyst", "writer", "writer"]
    assert [task.why_this_agent for task in found.tasks] == ["It can.", CHOSEN_BY_OWNER, "It can.", "It can."]


@pytest.mark.parametrize("field", [{"drop": {"x"}}, {"instructions": {"x": "y"}}, {"agents": {"x": "writer"}}])
def test_an_edit_of_a_task_that_is_not_there_is_a_mistake(field: Any) -> None:
    assert codes(ROW, **field) == ["unknown_task"]


@pytest.mark.parametrize("field", [{"instructions": {"write": "y"}}, {"agents": {"write": "writer"}}])
def test_a_task_is_dropped_or_changed_and_not_both(field: Any) -> None:
    assert codes(ROW, drop={"write"}, **field) == ["dropped_task"]


def test_what_comes_of_edits_is_validated_as_any_plan() -> None:
    assert codes(ROW, agents={"write": "poet"}) == ["unknown_agent"]
    assert codes(ROW, instructions={"write": " "}) == ["empty_text"]
    assert codes(ROW, instructions={"write": "x" * 8_001}) == ["long_text"]
    assert codes(ROW, drop={"find", "write", "review", "publish"}) == ["empty_plan"]


def test_all_mistakes_are_told_at_once() -> None:
    assert codes(ROW, drop={"x", "find"}, instructions={"find": "y"}, agents={"write": "poet"}) == [
        "dropped_task", "unknown_task", "unknown_agent",
    ]  # fmt: skip


def test_edits_have_no_other_fields() -> None:
    with pytest.raises(ValidationError):
        PlanEdits.model_validate({"add": ["x"]})


def test_edits_are_read_from_json() -> None:
    found = PlanEdits.model_validate_json('{"drop": ["a"], "instructions": {"b": "x"}}')
    assert found == PlanEdits(drop=frozenset({"a"}), instructions={"b": "x"})


@given(plans(), st.sets(st.sampled_from([f"t{number}" for number in range(8)])))
@settings(max_examples=100, deadline=None)
def test_dropping_tasks_leaves_the_order_of_all_others(plan: Plan, dropped: set[str]) -> None:
    before = PlanGraph.of(plan)
    dropped &= set(before.nodes)
    assume(len(dropped) < len(before))
    found = edited(plan, drop=dropped)
    after = PlanGraph.of(found.plan)
    assert after.nodes == tuple(node for node in before.nodes if node not in dropped)
    for one, other in product(after.nodes, repeat=2):
        assert (one in after.ancestors(other)) == (one in before.ancestors(other))
    assert set(found.bereft) == {node for node in after.nodes if dropped & set(before.dependencies[node])}
