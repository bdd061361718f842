"""How a plan ends by its tasks, what cannot run any more, and because of what."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import Task
from models.statuses import RunStatus, TaskStatus
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.outcome import NoAnswer, answer_from
from tests.unit.orchestrator.graphs import graphs, waits_for
from workspace.names import CLOSING_ID, ORCHESTRATOR
from workspace.plans.outcome import WITHOUT_RESULT, causes, ended_as
from workspace.plans.rows import to_skip

PENDING, HELD, QUEUED, RUNNING, WAITING, COMPLETED, FAILED, SKIPPED, CANCELLED = TaskStatus
LETTERS = {
    "p": PENDING, "h": HELD, "q": QUEUED, "r": RUNNING, "w": WAITING,
    "c": COMPLETED, "f": FAILED, "s": SKIPPED, "x": CANCELLED,
}  # fmt: skip
TREE = {"a": [], "b": ["a"], "c": ["a"], "d": ["b"], "e": ["c"]}


def rows(dependencies: Mapping[str, Sequence[str]], statuses: Mapping[str, TaskStatus]) -> list[Task]:
    """Tasks of a plan, each after all that it waits for."""
    order = PlanGraph({name: list(needed) for name, needed in dependencies.items()}).order
    ids = {name: UUID(int=place) for place, name in enumerate(order, start=1)}
    return [
        Task(
            id=ids[name],
            plan_task_id=name,
            agent_name=ORCHESTRATOR if name == CLOSING_ID else "helper",
            follows=[ids[each] for each in dependencies[name]],
            status=statuses[name],
        )
        for name in order
    ]


def by_letters(letters: str) -> dict[str, TaskStatus]:
    """Statuses of tasks a, b, c ... by letters."""
    return {chr(ord("a") + place): LETTERS[letter] for place, letter in enumerate(letters)}


def skipped(dependencies: Mapping[str, Sequence[str]], statuses: Mapping[str, TaskStatus]) -> set[str]:
    return {str(task.plan_task_id) for task in to_skip(rows(dependencies, statuses))}


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("cc", "completed"), ("cf", "partial"), ("cs", "partial"), ("cx", "partial"), ("ff", "failed"),
        ("fs", "failed"), ("fx", "failed"), ("xx", "cancelled"), ("xs", "cancelled"), ("", "failed"),
    ],
)  # fmt: skip
def test_a_run_ends_as_its_tasks_did(letters: str, expected: str) -> None:
    assert ended_as([LETTERS[letter] for letter in letters]) == expected


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ccccc", ""), ("fpppp", "bcde"), ("cfppp", "d"), ("xpppp", "bcde"), ("csppp", "d"), ("cfcpp", "d"),
        ("rpppp", ""), ("cffpp", "de"), ("cfrsp", ""), ("fsppp", "cde"),
    ],
)  # fmt: skip
def test_what_waits_for_a_task_without_a_result_is_skipped(letters: str, expected: str) -> None:
    assert skipped(TREE, by_letters(letters)) == set(expected)


def test_the_closing_task_is_not_skipped() -> None:
    assert skipped({"a": [], CLOSING_ID: ["a"]}, {"a": FAILED, CLOSING_ID: PENDING}) == set()


@given(graphs(), st.data())
@settings(max_examples=80, deadline=None)
def test_skipped_is_exactly_what_is_pending_behind_something_that_went_wrong(graph: PlanGraph, data: Any) -> None:
    found = {node: data.draw(st.sampled_from(TaskStatus)) for node in graph.nodes}
    expected = {
        node
        for node in graph.nodes
        if found[node] is PENDING
        and any(found[each] in WITHOUT_RESULT and waits_for(graph.dependencies, node, each) for each in graph.nodes)
    }
    assert skipped(graph.dependencies, found) == expected
    assert skipped(graph.dependencies, found | dict.fromkeys(expected, SKIPPED)) == set()
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
            found |= dict.fromkeys(skipped(graph.dependencies, found), SKIPPED)
    status = ended_as(found.values())
    assert PENDING not in found.values()
    assert (status is RunStatus.COMPLETED) == (set(found.values()) == {COMPLETED})
    assert (status is RunStatus.FAILED) == (COMPLETED not in found.values())
    assert isinstance(answer_from(graph, found), NoAnswer) == (status is RunStatus.FAILED)


def test_a_skipped_task_names_what_went_wrong_by_itself_before_it() -> None:
    tasks = rows(
        {"d": ["b", "c"], "a": [], "b": ["a"], "c": []}, {"a": FAILED, "b": SKIPPED, "c": CANCELLED, "d": SKIPPED}
    )
    found = {task.plan_task_id: set(causes(task, tasks)) for task in tasks}
    assert found == {"a": set(), "b": {"a"}, "c": set(), "d": {"a", "c"}}
