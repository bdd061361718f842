"""What each task of a plan sends when it settles: its graph as steps of chains and parts of chords.

A dependent with one dependency is the next step of a chain. A dependent with several is the body of a chord, and each
of them counts as one part of its header. No canvas is built of it: a launch writes `follows` into the rows, and whoever
ends a task works out from them what it sends (`workspace.plans.rows`), always alike, a second time as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plans.closing import closed
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from orchestrator.plans.reduction import reduced


@dataclass(frozen=True)
class ChainStep:
    """The dependent itself is sent: nothing else holds it back."""

    dependent: str


@dataclass(frozen=True)
class ChordPart:
    """One part of the dependent's chord is sent."""

    join: str
    """The dependent."""
    index: int
    """Which of its dependencies this is, from 0."""
    size: int
    """How many it has."""


FollowUp = ChainStep | ChordPart


@dataclass(frozen=True)
class CompiledPlan:
    """Everything that is sent for a plan, and when."""

    follows: Mapping[str, tuple[str, ...]]
    """What each task waits for, in the order of its chord's parts, without what follows from others."""
    starts: tuple[str, ...]
    """The tasks that are sent at launch."""
    joins: Mapping[str, int]
    """The size of each chord, set once at launch."""
    following: Mapping[str, tuple[FollowUp, ...]]
    """What each task sends when it settles, by its id; only the last one sends nothing."""


def compile_plan(plan: Plan) -> CompiledPlan:
    """Return what is sent for a valid plan, its closing task with it."""
    return compile_graph(closed(PlanGraph.of(plan)))


def compile_graph(graph: PlanGraph) -> CompiledPlan:
    """Return what is sent for a graph; edges that follow from others send nothing."""
    graph = reduced(graph)
    return CompiledPlan(
        follows=graph.dependencies,
        starts=graph.roots,
        joins={node: len(needed) for node, needed in graph.dependencies.items() if len(needed) > 1},
        following={
            node: tuple(_follow_up(graph, node, each) for each in graph.dependents[node]) for node in graph.nodes
        },
    )


def _follow_up(graph: PlanGraph, node: str, dependent: str) -> FollowUp:
    needed = graph.dependencies[dependent]
    return ChainStep(dependent) if len(needed) == 1 else ChordPart(dependent, needed.index(node), len(needed))
