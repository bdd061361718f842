"""What a whole plan may take, from the estimates of its tasks.

Medians do not add up: the slowest of ten tasks that run at once is seldom an average one. So the plan is played through
a thousand times, with durations and costs drawn from the estimates. The draws are the same each time, so one plan has
one estimate; each task's are spread evenly over its distribution (a Latin hypercube), which makes a thousand enough for
three digits of P50 and two of P90.

Three things are assumed. What takes a task long costs much as well: both are drawn together. Tasks are drawn
independently of one another, though a slow day of the provider slows all of them. And every task that may run does:
neither queues nor an agent's concurrency limit are in the parallel time.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.plans.critical_path import critical_path
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import MAX_TASKS
from orchestrator.plans.spread import Spread
from orchestrator.plans.task_estimate import TaskEstimate

DRAWS = 1_000
_SEED = 20_250_101

Draws = NDArray[np.float64]
"""Values, one for each time that a plan is played through; the last axis is always these."""


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
    seconds = _drawn([tasks[node].seconds for node in graph.nodes])
    return PlanEstimate(
        sequential_seconds=_spread(seconds.sum(axis=0)),
        parallel_seconds=_spread(_finishes(graph, seconds)),
        tokens=_spread(_drawn([tasks[node].tokens for node in graph.nodes]).sum(axis=0)),
        cost_usd=_cost([tasks[node].cost_usd for node in graph.nodes]),
        critical_path=critical_path(graph, {node: tasks[node].seconds.p50 for node in graph.nodes}).nodes,
        tasks={node: tasks[node] for node in graph.nodes},
    )


def _cost(costs: Sequence[Spread | None]) -> Spread | None:
    known = [cost for cost in costs if cost is not None]
    return _spread(_drawn(known).sum(axis=0)) if len(known) == len(costs) else None


def _finishes(graph: PlanGraph, seconds: Draws) -> Draws:
    """Return when the last task ends, for each draw.

    Args:
        graph: the plan.
        seconds: a row of draws for each node, in the order of the graph's nodes.
    """
    own = dict(zip(graph.nodes, seconds, strict=True))
    nothing = np.zeros(seconds.shape[1:])
    ends: dict[str, Draws] = {}
    for node in graph.order:
        ends[node] = own[node] + _latest([ends[each] for each in graph.dependencies[node]] or [nothing])
    return _latest([ends[node] for node in graph.sinks] or [nothing])


def _latest(ends: Sequence[Draws]) -> Draws:
    latest: Draws = np.maximum.reduce(ends)
    return latest


def _drawn(spreads: Sequence[Spread]) -> Draws:
    """Return a row of draws for each of these, each row in an order of its own."""
    medians = np.array([spread.p50 for spread in spreads], dtype=np.float64)
    sigmas = np.array([spread.sigma for spread in spreads], dtype=np.float64)
    drawn: Draws = medians[:, None] * np.exp(
        sigmas[:, None] * _orders(max(len(spreads), MAX_TASKS + 1))[: len(spreads)]
    )
    return drawn


def _spread(values: Draws) -> Spread:
    # By this method a quantile is one of the values, and nothing between two of them.
    p50, p90 = np.quantile(values, [0.5, 0.9], method="inverted_cdf")
    return Spread(p50=float(p50), p90=float(p90))


@cache
def _orders(count: int) -> Draws:
    """Return so many rows of standard normal values, one from the middle of each of a thousand equally likely ranges.

    They are kept: to make them takes longer than all that is done with them.
    """
    normal = NormalDist()
    evenly = [normal.inv_cdf((place + 0.5) / DRAWS) for place in range(DRAWS)]
    random = Random(_SEED)  # noqa: S311  # it has to be the same each time, not hard to guess
    return np.array([random.sample(evenly, DRAWS) for _ in range(count)])
