"""The row of tasks that decides how long a plan takes when everything that may run at once does."""

from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.plans.graph import PlanGraph


class CriticalPath(NamedTuple):
    """The longest row, from a root to a sink."""

    nodes: tuple[str, ...]
    length: float


def critical_path(graph: PlanGraph, durations: Mapping[str, float]) -> CriticalPath:
    """Return the longest row for given durations, none of them negative. Of equal ones, the plan's order decides."""
    finish: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for node in graph.order:
        latest = max(graph.dependencies[node], key=finish.__getitem__, default=None)
        before[node] = latest
        finish[node] = durations[node] + (0.0 if latest is None else finish[latest])
    last = max(graph.sinks, key=finish.__getitem__, default=None)
    length = 0.0 if last is None else finish[last]
    path = []
    while last is not None:
        path.append(last)
        last = before[last]
    return CriticalPath(tuple(reversed(path)), length)


def sequential(graph: PlanGraph, durations: Mapping[str, float]) -> float:
    """Return how long the tasks take one after the other."""
    return sum((durations[node] for node in graph.nodes), 0.0)
