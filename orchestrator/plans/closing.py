"""The closing task: the one that waits for all that nothing else waits for, and ends the run.

It always runs, whatever became of the others. Where one single task is last, that task's text is the answer itself;
else the closing task writes one answer out of several, see `outcome.answer_from`.
"""

from orchestrator.plans.graph import PlanGraph
from workspace.names import CLOSING_ID


def closed(graph: PlanGraph) -> PlanGraph:
    """Return the graph with its closing task. An edge to it never follows from others: no sink waits for a sink."""
    return PlanGraph({**graph.dependencies, CLOSING_ID: graph.sinks})


def single_last(graph: PlanGraph) -> str | None:
    """Return the task of a plan whose text is the answer itself, if there is one. Everything else leads to it."""
    return graph.sinks[0] if len(graph.sinks) == 1 else None
