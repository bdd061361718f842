"""A graph without the edges that follow from others.

Where c waits for b, and b for a, it says nothing new that c waits for a.
"""

from orchestrator.plans.graph import PlanGraph


def reduced(graph: PlanGraph) -> PlanGraph:
    """Return the only graph with the fewest edges in which every node waits for the same nodes, directly or not.

    Which results a task is given is told by the plan, not by this: c may well read what a wrote.
    """
    places = {node: place for place, node in enumerate(graph.order)}
    reached: dict[str, int] = {}  # all that a node waits for, as bits by their places in the order
    kept: dict[str, list[str]] = {}
    for node in graph.order:
        bits = 0
        kept[node] = []
        # The nearest first: nothing that comes earlier in the order can wait for it.
        for dependency in sorted(graph.dependencies[node], key=places.__getitem__, reverse=True):
            if not bits >> places[dependency] & 1:
                kept[node].append(dependency)
                bits |= reached[dependency] | 1 << places[dependency]
        reached[node] = bits
    return PlanGraph({node: kept[node] for node in graph.nodes})
