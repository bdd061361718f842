"""How a run stands by its tasks, what cannot run any more, and where the answer comes from."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.statuses import RunStatus, TaskStatus
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.outcome import (
    GONE_WRONG,
    NoAnswer,
    SynthesisOf,
    TheTextOf,
    answer_from,
    outcomes,
    run_status,
    to_repeat,
    to_skip,
)
from tests.unit.orchestrator.graphs import graphs, plan_of, waits_for

PENDING, HELD, QUEUED, RUNNING, WAITING, COMPLETED, FAILED, SKIPPED, CANCELLED = TaskStatus
LETTERS = {
    "p": PENDING, "h": HELD, "q": QUEUED, "r": RUNNING, "w": WAITING,
    "c": COMPLETED, "f": FAILED, "s": SKIPPED, "x": CANCELLED,
}  # fmt: skip
TREE = {"a": [], "b": ["a"], "c": ["a"], "d": ["b"], "e": ["c"]}


def statuses(letters: str) -> dict[str, TaskStatus]:
    """Statuses of tasks a, b, c ... by letters."""
    return {chr(ord("a") + place): LETTERS[letter] for place, letter in enumerate(letters)}


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("cc", "completed"), ("cf", "partial"), ("cs", "partial"), ("cx", "partial"),
        ("ff", "failed"), ("fs", "failed"), ("fx", "failed"), ("xx", "cancelled"), ("xs", "cancelled"),
        ("pp", "running"), ("cp", "running"), ("fp", "running"), ("ch", "running"), ("cq", "running"),
        ("cr", "running"), ("cw", "waiting"), ("wp", "waiting"), ("wf", "waiting"),
        ("wr", "running"), ("wq", "running"), ("wh", "running"),
    ],
)  # fmt: skip
def test_a_run_stands_as_its_tasks_do(letters: str, expected: str) -> None:
    assert run_status(statuses(letters)) == expected


@pytest.mark.parametrize(
    ("letters", "expected"),
    [("cc", "completed"), ("cx", "cancelled"), ("cf", "cancelled"), ("xx", "cancelled"), ("cr", "running")],
)
def test_a_run_that_is_to_be_cancelled_is_unless_it_was_done_in_full(letters: str, expected: str) -> None:
    assert run_status(statuses(letters), cancel_requested=True) == expected


def test_a_run_without_tasks_has_failed() -> None:
    assert run_status({}) is RunStatus.FAILED


@given(st.lists(st.sampled_from(TaskStatus), min_size=1, max_size=6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_run_has_ended_exactly_when_all_its_tasks_have(found: list[TaskStatus], cancel: bool) -> None:
    status = run_status({str(number): each for number, each in enumerate(found)}, cancel_requested=cancel)
    assert status.is_final == all(each.is_final for each in found)


# -- what cannot run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ccccc", ""), ("fpppp", "bcde"), ("cfppp", "d"), ("xpppp", "bcde"), ("csppp", "d"), ("cfcpp", "d"),
        ("rpppp", ""), ("cffpp", "de"), ("cfrsp", ""), ("fsppp", "cde"),
    ],
)  # fmt: skip
def test_what_waits_for_a_task_without_a_result_is_skipped(letters: str, expected: str) -> None:
    assert to_skip(PlanGraph(TREE), statuses(letters)) == tuple(expected)


@given(graphs(), st.data())
@settings(max_examples=80, deadline=None)
def test_skipped_is_exactly_what_is_pending_behind_something_that_went_wrong(graph: PlanGraph, data: Any) -> None:
    found = {node: data.draw(st.sampled_from(TaskStatus)) for node in graph.nodes}
    expected = {
        node
        for node in graph.nodes
        if found[node] is PENDING
        and any(found[each] in GONE_WRONG and waits_for(graph.dependencies, node, each) for each in graph.nodes)
    }
    assert set(to_skip(graph, found)) == expected
    after = found | dict.fromkeys(expected, SKIPPED)
    assert to_skip(graph, after) == ()
    for node in expected:
        found[node].check_move(SKIPPED)


@given(graphs(least=1), st.data())
@settings(max_examples=80, deadline=None)
def test_with_any_failures_every_run_comes_to_an_end(graph: PlanGraph, data: Any) -> None:
    """Each task completes or fails as chance has it: nothing stays pending, and what never ran was skipped."""
    found = dict.fromkeys(graph.nodes, PENDING)
    for node in graph.order:
        if found[node] is PENDING:
            found[node] = data.draw(st.sampled_from([COMPLETED, COMPLETED, FAILED]))
            found |= dict.fromkeys(to_skip(graph, found), SKIPPED)
    status = run_status(found)
    assert status.is_final
    assert (status is RunStatus.COMPLETED) == (set(found.values()) == {COMPLETED})
    assert (status is RunStatus.FAILED) == (COMPLETED not in found.values())
    assert isinstance(answer_from(graph, found), NoAnswer) == (status is RunStatus.FAILED)


def test_a_retry_does_again_what_has_no_result() -> None:
    assert to_repeat(statuses("cfsxr")) == ("b", "c", "d")


# -- the answer -------------------------------------------------------------------------------------------------------


def answer(edges: dict[str, list[str]], letters: str) -> object:
    return answer_from(PlanGraph(edges), statuses(letters))


def test_a_single_last_tasks_text_is_the_answer_itself() -> None:
    assert answer({"a": [], "b": ["a"]}, "cc") == TheTextOf("b")
    assert answer({"a": []}, "c") == TheTextOf("a")


def test_of_several_last_tasks_one_answer_is_written() -> None:
    assert answer(TREE, "ccccc") == SynthesisOf(("d", "e"))


def test_where_something_failed_what_each_branch_came_to_is_put_together() -> None:
    assert answer(TREE, "ccfcs") == SynthesisOf(("d",))
    assert answer(TREE, "cccff") == SynthesisOf(("b", "c"))
    assert answer({"a": [], "b": ["a"]}, "cf") == SynthesisOf(("a",))


def test_without_a_result_there_is_no_answer() -> None:
    assert answer(TREE, "fssss") == NoAnswer()


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_tells_of_each_task_what_became_of_it_and_why() -> None:
    plan = plan_of({"d": ["b", "c"], "a": [], "b": ["a"], "c": []}, a="researcher")
    found = outcomes(plan, {"a": FAILED, "b": SKIPPED, "c": CANCELLED, "d": SKIPPED}, {"a": "The model refused."})
    assert [(each.task_id, each.agent, each.status, each.because_of, each.detail) for each in found] == [
        ("d", "writer", SKIPPED, ("a", "c"), None),
        ("a", "researcher", FAILED, (), "The model refused."),
        ("b", "writer", SKIPPED, ("a",), None),
        ("c", "writer", CANCELLED, (), None),
    ]
