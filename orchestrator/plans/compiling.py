"""What each task of a plan waits for when it is launched: the edges of its chains and chords.

A task that waits for one other is the next step of a chain. One that waits for several is the body of a chord, and each
of those is a part. No canvas is built of it: a launch writes `follows` into the rows, and whoever ends a task works out
from them what it sends (`workspace.plans.rows`), always alike, a second time as well.
"""

from collections.abc import Mapping

from orchestrator.plans.closing import closed
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from orchestrator.plans.reduction import reduced


def compile_plan(plan: Plan) -> Mapping[str, tuple[str, ...]]:
    """Return what each task of a valid plan waits for, its closing task too, in the order of its chord's parts.

    What follows from other edges is left out.
    """
    return reduced(closed(PlanGraph.of(plan))).dependencies
