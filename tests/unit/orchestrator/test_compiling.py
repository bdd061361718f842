"""Whatever the graph and whatever the order in which its tasks end: each starts once, after all that it waits for."""

from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plans.closing import CLOSING_ID, closed
from orchestrator.plans.compiling import compile_plan
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from tests.unit.orchestrator.graphs import graphs, plan_of, plans
from workspace.names import arrival_id, join_id

RUN = UUID("018f0000-0000-7000-8000-000000000001")


class Broker:
    """Delivers what ends set off by `follows`, as Celery does: the body of a chord once all of its parts came."""

    def __init__(self, plan: Plan) -> None:
        self.follows = compile_plan(plan)
        self.waiting = [node for node, needed in self.follows.items() if not needed]
        self.started: list[str] = []
        self.settled: list[str] = []
        self._arrived: dict[str, set[tuple[str, int]]] = {}

    def settle(self, node: str) -> None:
        """End a task, whose row says so before its edges are sent."""
        self.settled.append(node)
        self.send_edges(node)

    def send_edges(self, node: str) -> None:
        for dependent, needed in self.follows.items():
            if node not in needed:
                continue
            parts = self._arrived.setdefault(join_id(RUN, dependent), set())
            parts.add((arrival_id(RUN, node, dependent), needed.index(node)))
            if len(parts) == len(needed):
                self._deliver(dependent)

    def _deliver(self, node: str) -> None:
        # A start is one compare-and-set of the row: a second delivery changes nothing.
        if node not in self.waiting + self.started:
            self.waiting.append(node)


def test_a_task_waits_for_what_nothing_else_says_it_waits_for() -> None:
    plan = plan_of({"a": [], "b": ["a"], "c": ["a"], "d": ["a", "b", "c"]})
    follows = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), CLOSING_ID: ("d",)}
    assert compile_plan(plan) == follows


def test_the_closing_task_waits_for_all_that_nothing_else_waits_for() -> None:
    plan = plan_of({"a": [], "b": ["a"], "c": ["a"]})
    assert compile_plan(plan)[CLOSING_ID] == ("b", "c")


def test_the_names_of_chords_and_their_parts_are_those_that_are_pinned() -> None:
    assert join_id(RUN, "d") == f"{RUN}.d"
    assert arrival_id(RUN, "b", "d") == f"{RUN}.b>d"


@given(graphs(most=25, least=3), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_in_any_order_of_ends_each_task_starts_once_and_after_all_that_it_waits_for(
    graph: PlanGraph, chance: Random
) -> None:
    _run(plan_of(graph.dependencies), chance, repeats=0)


@given(graphs(most=25, least=3), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_edges_that_are_sent_again_change_nothing(graph: PlanGraph, chance: Random) -> None:
    _run(plan_of(graph.dependencies), chance, repeats=2)


def _run(plan: Plan, chance: Random, *, repeats: int) -> None:
    graph, broker = closed(PlanGraph.of(plan)), Broker(plan)
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
    broker = Broker(plan_of(graph.dependencies))
    graph = closed(graph)
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
