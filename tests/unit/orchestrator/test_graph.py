"""What a graph tells, against the obvious way to find it out."""

from itertools import combinations, islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plans.closing import CLOSING_ID, closed, single_last
from orchestrator.plans.critical_path import critical_path, sequential
from orchestrator.plans.cycles import cycles
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.reduction import reduced
from orchestrator.plans.width import width
from tests.unit.orchestrator.graphs import graphs, plan_of, waits_for

DIAMOND = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}


def rows(graph: PlanGraph) -> list[tuple[str, ...]]:
    """Every way from a root to a sink."""

    def ending(node: str) -> list[tuple[str, ...]]:
        needed = graph.dependencies[node]
        return [(*row, node) for each in needed for row in ending(each)] if needed else [(node,)]

    return [row for sink in graph.sinks for row in ending(sink)]


@st.composite
def any_edges(draw: st.DrawFn) -> dict[str, list[str]]:
    """Dependencies with circles and without."""
    names = [f"t{number}" for number in range(draw(st.integers(1, 6)))]
    return {name: draw(st.lists(st.sampled_from(names), max_size=3)) for name in names}


# -- making one -------------------------------------------------------------------------------------------------------


def test_a_plan_has_a_graph() -> None:
    graph = PlanGraph.of(plan_of(DIAMOND))
    assert graph == PlanGraph(DIAMOND)
    assert graph.nodes == ("d", "b", "c", "a")
    assert len(graph) == 4


def test_a_dependency_that_is_named_twice_counts_once_and_in_the_plans_order() -> None:
    assert PlanGraph({"a": [], "b": [], "c": ["b", "a", "b"]}).dependencies["c"] == ("a", "b")


@pytest.mark.parametrize("edges", [{"a": ["b"]}, {"a": ["a"]}, {"a": ["b"], "b": ["a"]}])
def test_what_is_no_graph_of_a_plan_is_refused(edges: Any) -> None:
    with pytest.raises(ValueError, match=r"circle|no node"):
        PlanGraph(edges)


def test_graphs_are_equal_when_their_nodes_in_order_and_their_edges_are() -> None:
    graph = PlanGraph({"a": [], "b": ["a"]})
    assert graph == PlanGraph({"a": [], "b": ["a"]})
    assert hash(graph) == hash(PlanGraph({"a": [], "b": ["a"]}))
    assert graph != PlanGraph({"b": ["a"], "a": []})
    assert graph != PlanGraph({"a": [], "b": []})
    assert repr(graph) == "PlanGraph({'a': (), 'b': ('a',)})"


def test_a_graph_may_have_no_node() -> None:
    graph = PlanGraph({})
    assert (graph.order, graph.levels, graph.depth, graph.sinks) == ((), (), 0, ())
    assert critical_path(graph, {}) == ((), 0)
    assert width(graph) == 0
    assert reduced(graph) == graph


# -- circles ----------------------------------------------------------------------------------------------------------


@given(any_edges())
@settings(max_examples=150, deadline=None)
def test_each_circle_that_is_told_is_one_and_without_a_step_of_each_there_is_none(edges: dict[str, list[str]]) -> None:
    found = list(cycles(edges))
    for circle in found:
        assert all(other in edges[node] for node, other in pairwise((*circle, circle[0])))
        assert len(set(circle)) == len(circle)
        assert circle[0] == min(circle)
    # One step of each can be chosen so that nothing is left; the walk's own step back is such a choice.
    left = {node: set(needed) for node, needed in edges.items()}
    for circle in found:
        left = _without_its_step_back(left, circle, edges)
    assert not list(cycles({node: [each for each in edges[node] if each in left[node]] for node in edges}))


def _without_its_step_back(
    left: dict[str, set[str]], circle: tuple[str, ...], edges: dict[str, list[str]]
) -> dict[str, set[str]]:
    """Remove from a circle the step that a depth-first walk meets last."""
    seen: list[str] = []

    def walk(node: str) -> None:
        seen.append(node)
        for each in edges[node]:
            if each not in seen:
                walk(each)

    for node in edges:
        if node not in seen:
            walk(node)
    steps = list(pairwise((*circle, circle[0])))
    last, first = next(step for step in steps if step[1] == min(circle, key=seen.index))
    return left | {last: left[last] - {first}}


@given(any_edges())
@settings(max_examples=150, deadline=None)
def test_a_circle_is_found_exactly_where_there_is_one(edges: dict[str, list[str]]) -> None:
    def reaches(node: str, goal: str, seen: frozenset[str]) -> bool:
        return any(each == goal or (each not in seen and reaches(each, goal, seen | {each})) for each in edges[node])

    in_circles = {node for circle in cycles(edges) for node in circle}
    assert bool(in_circles) == any(reaches(node, node, frozenset()) for node in edges)
    assert all(reaches(node, node, frozenset()) for node in in_circles)


def test_what_is_no_node_depends_on_nothing() -> None:
    assert list(cycles({"a": ["x", "b"], "b": ["a", "x"]})) == [("a", "b")]


def test_circles_of_a_graph_with_very_many_are_few() -> None:
    """Each of 12 depends on all: 10^8 circles, and 66 steps back besides those to itself."""
    names = [f"t{number:02}" for number in range(12)]
    assert len(list(cycles(dict.fromkeys(names, names)))) == 12 + 66


def test_a_long_row_needs_no_deep_recursion() -> None:
    count = 20_000
    edges = {str(number): [str(number + 1)] for number in range(count)} | {str(count): []}
    assert not list(cycles(edges))
    assert PlanGraph(edges).depth == count + 1
    assert len(next(islice(cycles(edges | {str(count): ["0"]}), 1))) == count + 1


# -- order and levels -------------------------------------------------------------------------------------------------


@given(graphs())
@settings(deadline=None)
def test_the_order_is_the_first_of_all_that_are_possible(graph: PlanGraph) -> None:
    left = list(graph.nodes)
    for node in graph.order:
        possible = [each for each in left if not set(graph.dependencies[each]) & set(left)]
        assert node == possible[0]
        left.remove(node)
    assert not left


@given(graphs())
@settings(deadline=None)
def test_the_level_of_a_node_is_the_length_of_the_longest_row_before_it(graph: PlanGraph) -> None:
    def before(node: str) -> int:
        return max((before(each) + 1 for each in graph.dependencies[node]), default=0)

    assert sorted(node for level in graph.levels for node in level) == sorted(graph.nodes)
    for number, level in enumerate(graph.levels):
        assert all(before(node) == number for node in level)
        assert list(level) == [node for node in graph.nodes if node in level]
    assert graph.depth == max((len(row) for row in rows(graph)), default=0)


@given(graphs())
@settings(deadline=None)
def test_ancestors_and_descendants_are_all_that_wait_or_are_waited_for(graph: PlanGraph) -> None:
    for node in graph.nodes:
        before = {each for each in graph.nodes if waits_for(graph.dependencies, node, each)}
        after = {each for each in graph.nodes if waits_for(graph.dependencies, each, node)}
        assert graph.ancestors(node) == before
        assert graph.descendants(node) == after


@given(graphs())
@settings(deadline=None)
def test_roots_wait_for_nothing_and_nothing_waits_for_sinks(graph: PlanGraph) -> None:
    assert graph.roots == tuple(node for node in graph.nodes if not graph.ancestors(node))
    assert graph.sinks == tuple(node for node in graph.nodes if not graph.descendants(node))
    for node in graph.nodes:
        assert graph.dependents[node] == tuple(each for each in graph.nodes if node in graph.dependencies[each])


# -- reduction --------------------------------------------------------------------------------------------------------


def edges_of(graph: PlanGraph) -> set[tuple[str, str]]:
    return {(node, each) for node, needed in graph.dependencies.items() for each in needed}


def test_an_edge_that_follows_from_others_is_left_out() -> None:
    graph = PlanGraph({"c": ["a", "b"], "b": ["a"], "a": []})
    assert reduced(graph) == PlanGraph({"c": ["b"], "b": ["a"], "a": []})


@given(graphs())
@settings(deadline=None)
def test_the_reduction_leaves_out_exactly_the_edges_that_follow_from_others(graph: PlanGraph) -> None:
    expected = {
        (node, each)
        for node, each in edges_of(graph)
        if not any(waits_for(graph.dependencies, other, each) for other in graph.dependencies[node])
    }
    assert edges_of(reduced(graph)) == expected
    assert reduced(graph).nodes == graph.nodes


@given(graphs(most=15))
@settings(max_examples=60, deadline=None)
def test_after_the_reduction_every_node_waits_for_the_same_nodes(graph: PlanGraph) -> None:
    again = reduced(graph)
    assert all(again.ancestors(node) == graph.ancestors(node) for node in graph.nodes)
    assert again.levels == graph.levels
    assert reduced(again) == again


# -- the closing task -------------------------------------------------------------------------------------------------


@given(graphs(least=1))
@settings(deadline=None)
def test_the_closing_task_waits_for_every_task_and_is_the_only_last_one(graph: PlanGraph) -> None:
    whole = closed(graph)
    assert whole.sinks == (CLOSING_ID,)
    assert whole.ancestors(CLOSING_ID) == set(graph.nodes)
    assert whole.dependencies[CLOSING_ID] == graph.sinks
    assert reduced(whole) == closed(reduced(graph))


@given(graphs(least=1))
@settings(deadline=None)
def test_the_answer_is_a_tasks_own_text_only_where_everything_leads_to_that_task(graph: PlanGraph) -> None:
    last = single_last(graph)
    if last is None:
        assert len(graph.sinks) > 1
    else:
        assert graph.ancestors(last) | {last} == set(graph.nodes)


# -- times ------------------------------------------------------------------------------------------------------------

LASTING = st.dictionaries(st.sampled_from([f"t{number}" for number in range(8)]), st.integers(0, 20), min_size=8)


def test_the_critical_path_is_the_row_that_takes_longest() -> None:
    path = critical_path(PlanGraph(DIAMOND), {"a": 1, "b": 5, "c": 3, "d": 2})
    assert path.nodes == ("a", "b", "d")
    assert path.length == 8


def test_of_equally_long_rows_the_first_in_the_plan_is_told() -> None:
    assert critical_path(PlanGraph(DIAMOND), dict.fromkeys("abcd", 1)).nodes == ("a", "b", "d")
    assert critical_path(PlanGraph({"b": [], "a": []}), {"a": 1, "b": 1}).nodes == ("b",)


@given(graphs(), LASTING)
@settings(deadline=None)
def test_no_row_takes_longer_than_the_critical_path(graph: PlanGraph, lasting: dict[str, int]) -> None:
    path = critical_path(graph, lasting)
    assert path.length == max((sum(lasting[node] for node in row) for row in rows(graph)), default=0)
    assert path.length == sum(lasting[node] for node in path.nodes)
    assert not path.nodes or path.nodes in rows(graph)


@given(graphs(), LASTING)
@settings(deadline=None)
def test_one_after_the_other_takes_at_least_as_long(graph: PlanGraph, lasting: dict[str, int]) -> None:
    assert sequential(graph, lasting) == sum(lasting[node] for node in graph.nodes)
    assert critical_path(graph, lasting).length <= sequential(graph, lasting)


@given(graphs())
@settings(deadline=None)
def test_the_width_is_the_size_of_the_largest_set_of_which_none_waits_for_another(graph: PlanGraph) -> None:
    def independent(nodes: tuple[str, ...]) -> bool:
        return not any(one in graph.ancestors(other) for one in nodes for other in nodes)

    largest = max(
        size for size in range(len(graph) + 1) if any(independent(nodes) for nodes in combinations(graph.nodes, size))
    )
    assert width(graph) == largest


def test_the_width_can_be_more_than_that_of_the_widest_level() -> None:
    graph = PlanGraph({"a": [], "b": ["a"], "c": ["b"], "x": [], "y": ["x"], "z": ["x"], "p": [], "q": [], "r": ["p"]})
    assert max(map(len, graph.levels)) == 4
    late = PlanGraph({"a": [], "b": ["a"], "c": ["a"], "x": [], "d": ["x"], "e": ["d"], "f": ["d"]})
    assert max(map(len, late.levels)) == 3
    assert width(late) == 4
