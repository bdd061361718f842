"""How many tasks of a plan may run at once."""

from collections.abc import Mapping, Sequence

from orchestrator.plans.graph import PlanGraph


def width(graph: PlanGraph) -> int:
    """Return the size of the largest set of nodes of which none waits for another.

    By Dilworth's theorem it is the least number of rows that together have every node, and each pair of nodes that
    follow each other in such a row saves one of them: what is left is a largest matching. Finding it takes time in
    proportion to nodes times pairs, which is nothing for the size of a plan.
    """
    later = {node: sorted(graph.descendants(node)) for node in graph.nodes}
    matched: dict[str, str] = {}  # the node before each, in its row
    return len(graph) - sum(_match(node, later, matched) for node in graph.nodes)


def _match(start: str, later: Mapping[str, Sequence[str]], matched: dict[str, str]) -> bool:
    """Find a node to follow `start`, moving others to other rows where that helps."""
    came_from: dict[str, str] = {}  # who would take each node that was seen
    waiting = [start]
    while waiting:
        node = waiting.pop()
        for each in later[node]:
            if each in came_from:
                continue
            came_from[each] = node
            if each not in matched:
                _shift(each, came_from, matched)
                return True
            waiting.append(matched[each])
    return False


def _shift(free: str, came_from: Mapping[str, str], matched: dict[str, str]) -> None:
    """Give `free` to who wants it, what that one had to the next, and so on up to the start."""
    had = {before: node for node, before in matched.items()}
    node: str | None = free
    while node is not None:
        taker = came_from[node]
        matched[node] = taker
        node = had.get(taker)
