"""What a whole plan may take, from the estimates of its tasks.

Medians do not add up: the slowest of ten tasks that run at once is seldom an average one. So the plan is played through
a thousand times, with durations and costs drawn from the estimates. The draws are the same each time, so one plan has
one estimate; each task's are spread evenly over its distribution (a Latin hypercube), which makes a thousand enough for
three digits of P50 and two of P90.

Three things are assumed. What takes a task long costs much as well: both are drawn together. Tasks are drawn
independently of one another, though a slow day of the provider slows all of them. And every task that may run does:
neither queues nor an agent's concurrency limit are in the parallel time.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from statistics import NormalDist

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.plans.critical_path import critical_path
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import MAX_TASKS
from orchestrator.plans.spread import Spread
from orchestrator.plans.task_estimate import TaskEstimate

DRAWS = 1_000
_SEED = 20_250_101


class PlanEstimate(BaseModel):
    """What a plan may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequential_seconds: Spread = Field(description="one task after the other")
    parallel_seconds: Spread = Field(description="each task as soon as it may")
    tokens: Spread
    cost_usd: Spread | None = Field(description="null where the model of one of its tasks has no price")
    critical_path: tuple[str, ...] = Field(description="the tasks that decide how long it takes, if each takes its P50")
    tasks: Mapping[str, TaskEstimate]


def estimate_plan(graph: PlanGraph, tasks: Mapping[str, TaskEstimate]) -> PlanEstimate:
    """Return the estimate of a graph, each node of which has its own.

    A closing task that writes the answer takes its time, too: give the graph with it to have that counted.
    """
    chances = _chances(len(graph))
    seconds = [_drawn(tasks[node].seconds, each) for node, each in zip(graph.nodes, chances, strict=True)]
    tokens = [_drawn(tasks[node].tokens, each) for node, each in zip(graph.nodes, chances, strict=True)]
    return PlanEstimate(
        sequential_seconds=_summed(seconds),
        parallel_seconds=_spread(_finishes(graph, seconds)),
        tokens=_summed(tokens),
        cost_usd=_cost(graph, tasks, chances),
        critical_path=critical_path(graph, {node: tasks[node].seconds.p50 for node in graph.nodes}).nodes,
        tasks={node: tasks[node] for node in graph.nodes},
    )


def _cost(graph: PlanGraph, tasks: Mapping[str, TaskEstimate], chances: Sequence[Sequence[float]]) -> Spread | None:
    costs = [cost for node in graph.nodes if (cost := tasks[node].cost_usd) is not None]
    if len(costs) < len(graph):
        return None
    return _summed([_drawn(cost, each) for cost, each in zip(costs, chances, strict=True)])


def _finishes(graph: PlanGraph, seconds: Sequence[Sequence[float]]) -> list[float]:
    """Return when the last task ends, for each draw."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    ends: dict[str, Sequence[float]] = {}
    for node in graph.order:
        own = seconds[places[node]]
        needed = [ends[each] for each in graph.dependencies[node]]
        begins = [max(each) for each in zip(*needed, strict=True)] or [0.0] * len(own)
        ends[node] = [begin + lasts for begin, lasts in zip(begins, own, strict=True)]
    return [max(each) for each in zip(*(ends[node] for node in graph.sinks), strict=True)]


def _drawn(spread: Spread, chances: Sequence[float]) -> list[float]:
    median, sigma, exp = spread.p50, spread.sigma, math.exp  # looked up once: this runs a hundred thousand times
    return [median * exp(sigma * z) for z in chances]


def _summed(draws: Sequence[Sequence[float]]) -> Spread:
    return _spread(list(map(math.fsum, zip(*draws, strict=True))))


def _spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values) or [0.0]
    return Spread(p50=ordered[(len(ordered) - 1) // 2], p90=ordered[math.ceil(0.9 * len(ordered)) - 1])


@cache
def _evenly() -> tuple[float, ...]:
    """Return standard normal values, one from the middle of each of a thousand equally likely ranges."""
    normal = NormalDist()
    return tuple(normal.inv_cdf((place + 0.5) / DRAWS) for place in range(DRAWS))


def _chances(count: int) -> Sequence[Sequence[float]]:
    """Return for each of so many tasks those values in an order of its own."""
    return _orders(max(count, MAX_TASKS + 1))[:count]


@cache
def _orders(count: int) -> Sequence[Sequence[float]]:
    """Return such orders. They are kept: to make them takes longer than all that is done with them."""
    random = Random(_SEED)  # noqa: S311  # it has to be the same each time, not hard to guess
    return [random.sample(_evenly(), DRAWS) for _ in range(count)]
