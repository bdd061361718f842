"""What was measured of plans, and the tables that tell it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from bench import usage
from bench.plan_graphs import Graph
from bench.report import Table
from orchestrator.plans.critical_path import critical_path
from orchestrator.plans.graph import PlanGraph


class TaskRow(NamedTuple):
    """One task as its row tells it."""

    created: datetime
    started: datetime
    finished: datetime
    attempts: int


@dataclass(frozen=True)
class PlanRun:
    """One plan that ran."""

    graph: Graph
    tasks: Mapping[str, TaskRow]
    planning: float
    """Seconds of the planning task, the model's answer included."""

    @property
    def makespan(self) -> float:
        """Seconds from the first start of a planned task to the last end of one."""
        started, finished = (
            (each.started for each in self.tasks.values()),
            (each.finished for each in self.tasks.values()),
        )
        return (max(finished) - min(started)).total_seconds()

    def over_told(self) -> float:
        """Return the makespan by the critical path of what the model was told."""
        return self.makespan / critical_path(PlanGraph(self.graph.dependencies), self.graph.delays).length

    def over_measured(self) -> float:
        """Return the makespan by the critical path of what each task took."""
        took = {name: (each.finished - each.started).total_seconds() for name, each in self.tasks.items()}
        return self.makespan / critical_path(PlanGraph(self.graph.dependencies), took).length

    def disorder(self) -> list[str]:
        """Return the tasks that began before one that they depend on had ended."""
        return [
            name
            for name, needed in self.graph.dependencies.items()
            if any(self.tasks[each].finished > self.tasks[name].started for each in needed)
        ]


@dataclass(frozen=True)
class Cost:
    """What a number of tasks used."""

    tasks: int
    cpu: float
    redis: int
    published: int
    commits: int


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    runs: Sequence[PlanRun]
    alone: Sequence[PlanRun]
    """One after the other, with nothing beside them."""
    plans: Cost
    direct: Cost
    model: Sequence[float]
    """Seconds that the model's server takes to answer with a plan."""


def table(found: Found) -> Table:
    """Return how near their critical path the plans ran."""
    lines = [
        ("by what the model was told to take", [run.over_told() for run in found.runs]),
        ("by what each task took", [run.over_measured() for run in found.runs]),
    ]
    head = [f"{len(found.runs)} plans: makespan / critical path", "p50", "p95", "most"]
    return Table(
        head,
        [
            [name, *(f"{usage.percentile(each, percent):.3f}" for percent in (50, 95)), f"{max(each):.3f}"]
            for name, each in lines
        ],
    )


def cost_table(found: Found) -> Table:
    """Return what a task of a plan costs beside a direct message."""

    def line(name: str, cost: Cost) -> list[str]:
        each = (cost.cpu * 1000, cost.redis, cost.published, cost.commits)
        return [name, str(cost.tasks), *(f"{value / cost.tasks:.1f}" for value in each)]

    head = ["for each", "tasks", "CPU ms", "Redis commands", "Celery messages", "commits"]
    return Table(head, [line("direct message", found.direct), line("task of a plan", found.plans)])


def facts(found: Found) -> str:
    """Say what else was seen."""
    sizes = Counter(len(run.tasks) for run in found.runs)
    twice = sum(task.attempts > 1 for run in found.runs for task in run.tasks.values())
    disorder = sum(len(run.disorder()) for run in found.runs)
    planning = [run.planning * 1000 for run in found.alone]
    model = usage.percentile([each * 1000 for each in found.model], 50)
    return (
        f"Plans of {min(sizes)} to {max(sizes)} tasks, {sum(sizes.elements())} in all. Tasks that began before what "
        f"they depend on had ended: {disorder}. Tasks that ran more than once: {twice}. Planning and launching "
        f"one with nothing beside it took {usage.percentile(planning, 50):.1f} ms in the median and "
        f"{usage.percentile(planning, 95):.1f} ms at 95 %, "
        f"of which the model's server takes {model:.1f} ms."
    )
