"""What each task of a plan waits for when it is launched: the edges of its chains and chords.

A task that waits for one other is the next step of a chain. One that waits for several is the body of a chord, and each
of those is a part. No canvas is built of it: a launch writes `follows` into the rows, and whoever ends a task works out
from them what it sends (`workspace.plans.rows`), always alike, a second time as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plans.closing import closed
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from orchestrator.plans.reduction import reduced


@dataclass(frozen=True)
class CompiledPlan:
    """What rows have of a plan's graph."""

    follows: Mapping[str, tuple[str, ...]]
    """What each task waits for, in the order of its chord's parts, without what follows from others."""


def compile_plan(plan: Plan) -> CompiledPlan:
    """Return what the rows of a valid plan have of its graph, those of its closing task with it."""
    return CompiledPlan(follows=reduced(closed(PlanGraph.of(plan))).dependencies)
