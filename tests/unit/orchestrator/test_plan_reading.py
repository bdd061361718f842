"""What a model says is read as a plan where it is one, and all that is wrong is named where it is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planner.reading import read_plan
from orchestrator.plans.mistakes import MistakeCode, Mistakes, told
from orchestrator.plans.plan import Plan
from tests.unit.orchestrator.graphs import AGENTS, plans, task
from tests.unit.orchestrator.planning_requests import in_a_row, written

GOOD = written(task("a"), task("b", "a"))


def codes(found: Plan | Mistakes) -> list[MistakeCode]:
    assert not isinstance(found, Plan)
    return [mistake.code for mistake in found]


@given(plans())
def test_a_plan_is_read_as_it_was_written(plan: Plan) -> None:
    assert read_plan(plan.model_dump_json(), AGENTS, most=30) == plan


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "\n {}\n\n",
        "```json\n{}\n```",
        "```\n{}\n```",
        "Here is the plan:\n\n```json\n{}\n```\nTell me if it will do.",
        "Sure! {}",
    ],
)
def test_a_fence_or_words_around_a_plan_do_no_harm(around: str) -> None:
    assert isinstance(read_plan(around.replace("{}", GOOD), AGENTS, most=30), Plan)


def test_a_fence_within_an_instruction_stays_there() -> None:
    text = "Write:\n```python\nprint({})\n```"
    found = read_plan(f"```json\n{written(task('a', instruction=text))}\n```", AGENTS, most=30)
    assert isinstance(found, Plan)
    assert found.tasks[0].instruction == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot do that.",
        "{",
        "}{",
        GOOD[:-5],
        "{'rationale': 'x'}",
        '{"a": 1, "a": 2}',
        '{"a": "\\u0000"}',
        "[" * 99,
    ],
)
def test_what_is_no_json_is_told_so(text: str) -> None:
    found = read_plan(text, AGENTS, most=30)
    assert codes(found) == [MistakeCode.NOT_A_PLAN]
    assert not isinstance(found, Plan)
    assert "The answer is not JSON" in told(found)


@pytest.mark.parametrize("text", ["[]", "17", '"a plan"', "null"])
def test_json_that_is_no_object_is_told_so(text: str) -> None:
    assert codes(read_plan(text, AGENTS, most=30)) == [MistakeCode.NOT_A_PLAN]


def test_every_mistake_is_named_at_once() -> None:
    text = written(task("a", "b"), task("b", "a"), task("c", "nothing", agent="stranger"))
    assert set(codes(read_plan(text, AGENTS, most=30))) == {
        MistakeCode.CYCLE,
        MistakeCode.UNKNOWN_AGENT,
        MistakeCode.DANGLING_DEPENDENCY,
    }


def test_a_project_may_allow_fewer_tasks() -> None:
    assert isinstance(read_plan(in_a_row(3), AGENTS, most=3), Plan)
    found = read_plan(in_a_row(4), AGENTS, most=3)
    assert codes(found) == [MistakeCode.TOO_MANY_TASKS]
    assert not isinstance(found, Plan)
    assert told(found) == "- The plan has 4 tasks; 3 are allowed."


def test_too_many_tasks_are_told_once_and_by_the_projects_own_number() -> None:
    found = read_plan(in_a_row(31), AGENTS, most=2)
    assert codes(found) == [MistakeCode.TOO_MANY_TASKS]
    assert not isinstance(found, Plan)
    assert told(found) == "- The plan has 31 tasks; 2 are allowed."


def test_too_many_tasks_are_told_with_the_other_mistakes() -> None:
    text = written(task("a"), task("b", agent="stranger"))
    assert codes(read_plan(text, AGENTS, most=1)) == [MistakeCode.TOO_MANY_TASKS, MistakeCode.UNKNOWN_AGENT]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["rationale", "tasks", "id", "agent"]), inner),
)


@given(st.text() | JSON.map(json.dumps), st.integers(1, 30))
def test_whatever_a_model_says_is_a_plan_or_mistakes(text: str, most: int) -> None:
    found = read_plan(text.encode("utf-8", "replace").decode(), AGENTS, most=most)
    assert isinstance(found, Plan) or found
