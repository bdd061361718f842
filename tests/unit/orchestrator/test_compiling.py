"""Whatever the graph and whatever the order in which its tasks end: each starts once, after all that it waits for."""

from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plans.closing import CLOSING_ID, closed
from orchestrator.plans.compiling import ChainStep, ChordPart, CompiledPlan, compile_graph, compile_plan
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from orchestrator.plans.reduction import reduced
from tests.unit.orchestrator.graphs import graphs, plan_of, plans
from workspace.names import arrival_id, join_id

RUN = UUID("018f0000-0000-7000-8000-000000000001")
DIAMOND = PlanGraph({"a": [], "b": ["a"], "c": ["a"], "d": ["a", "b", "c"]})


class Broker:
    """Delivers what a compiled plan sends, as Celery does: a body once all parts of its chord came."""

    def __init__(self, compiled: CompiledPlan) -> None:
        self.compiled = compiled
        self.waiting = list(compiled.starts)
        self.started: list[str] = []
        self.settled: list[str] = []
        self._arrived: dict[str, set[tuple[str, int]]] = {}

    def settle(self, node: str) -> None:
        """End a task, whose row says so before its edges are sent."""
        self.settled.append(node)
        self.send_edges(node)

    def send_edges(self, node: str) -> None:
        for follow_up in self.compiled.following[node]:
            match follow_up:
                case ChainStep(dependent):
                    self._deliver(dependent)
                case ChordPart(join, index, size):
                    parts = self._arrived.setdefault(join_id(RUN, join), set())
                    parts.add((arrival_id(RUN, node, join), index))
                    assert size == self.compiled.joins[join]
                    if len(parts) == size:
                        self._deliver(join)

    def _deliver(self, node: str) -> None:
        # A start is one compare-and-set of the row: a second delivery changes nothing.
        if node not in self.waiting + self.started:
            self.waiting.append(node)


def test_a_dependent_with_one_dependency_is_a_step_and_one_with_several_gets_parts() -> None:
    compiled = compile_graph(DIAMOND)
    assert compiled.starts == ("a",)
    assert compiled.joins == {"d": 2}
    assert compiled.following == {
        "a": (ChainStep("b"), ChainStep("c")),
        "b": (ChordPart("d", 0, 2),),
        "c": (ChordPart("d", 1, 2),),
        "d": (),
    }


def test_a_plan_is_compiled_with_its_closing_task() -> None:
    compiled = compile_plan(plan_of({"a": [], "b": []}))
    assert compiled.starts == ("a", "b")
    assert compiled.joins == {CLOSING_ID: 2}
    assert compiled.following["b"] == (ChordPart(CLOSING_ID, 1, 2),)


def test_the_names_of_chords_and_their_parts_are_those_that_are_pinned() -> None:
    assert join_id(RUN, "d") == f"{RUN}.d"
    assert arrival_id(RUN, "b", "d") == f"{RUN}.b>d"


def sent(compiled: CompiledPlan) -> list[tuple[str, str]]:
    return [
        (node, each.dependent if isinstance(each, ChainStep) else each.join)
        for node, following in compiled.following.items()
        for each in following
    ]


@given(graphs(most=25, least=3))
@settings(max_examples=60, deadline=None)
def test_each_edge_of_the_reduction_is_sent_exactly_once(graph: PlanGraph) -> None:
    edges = [(each, node) for node, needed in reduced(graph).dependencies.items() for each in needed]
    assert sorted(sent(compile_graph(graph))) == sorted(edges)


@given(graphs(most=25, least=3))
@settings(max_examples=60, deadline=None)
def test_the_parts_of_a_chord_are_numbered_without_gap_or_double(graph: PlanGraph) -> None:
    compiled = compile_graph(graph)
    parts: dict[str, list[int]] = {}
    for following in compiled.following.values():
        for each in following:
            if isinstance(each, ChordPart):
                parts.setdefault(each.join, []).append(each.index)
                assert each.size == compiled.joins[each.join]
    assert {join: sorted(indexes) for join, indexes in parts.items()} == {
        join: list(range(size)) for join, size in compiled.joins.items()
    }
    assert all(size > 1 for size in compiled.joins.values())


@given(graphs(most=25, least=3), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_in_any_order_of_ends_each_task_starts_once_and_after_all_that_it_waits_for(
    graph: PlanGraph, chance: Random
) -> None:
    _run(closed(graph), chance, repeats=0)


@given(graphs(most=25, least=3), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_edges_that_are_sent_again_change_nothing(graph: PlanGraph, chance: Random) -> None:
    _run(closed(graph), chance, repeats=2)


def _run(graph: PlanGraph, chance: Random, *, repeats: int) -> None:
    broker = Broker(compile_graph(graph))
    running: list[str] = []
    while broker.waiting or running:
        if broker.waiting and (not running or chance.random() < 0.6):
            node = broker.waiting.pop(chance.randrange(len(broker.waiting)))
            assert node not in broker.started
            assert graph.ancestors(node) <= set(broker.settled)
            broker.started.append(node)
            running.append(node)
        else:
            broker.settle(running.pop(chance.randrange(len(running))))
        for _ in range(repeats if broker.settled else 0):
            broker.send_edges(chance.choice(broker.settled))
    assert sorted(broker.settled) == sorted(graph.nodes)
    assert broker.settled[-1] == CLOSING_ID


@given(graphs(most=25, least=3), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_task_starts_the_moment_its_last_dependency_ends(graph: PlanGraph, chance: Random) -> None:
    broker = Broker(compile_graph(graph))
    while broker.waiting:
        ready = {
            node
            for node in graph.nodes
            if set(graph.dependencies[node]) <= set(broker.settled) and node not in broker.settled
        }
        assert set(broker.waiting) == ready
        node = broker.waiting.pop(chance.randrange(len(broker.waiting)))
        broker.started.append(node)
        broker.settle(node)


@given(plans(most=12))
@settings(max_examples=40, deadline=None)
def test_a_plan_is_compiled_alike_whenever_it_is(plan: Plan) -> None:
    assert compile_plan(plan) == compile_plan(plan.model_copy())
