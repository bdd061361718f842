"""Where the answer of a run comes from, by what became of the tasks of its plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.statuses import TaskStatus
from orchestrator.plans.closing import single_last
from orchestrator.plans.graph import PlanGraph

Statuses = Mapping[str, TaskStatus]
"""Those of all tasks of a plan, by their ids, without its closing task."""


@dataclass(frozen=True)
class TheTextOf:
    """The answer is the text of this task, as it is."""

    task_id: str


@dataclass(frozen=True)
class SynthesisOf:
    """The answer is to be written from the results of these tasks, and from the table of outcomes."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True)
class NoAnswer:
    """There is no result to answer with."""


Answer = TheTextOf | SynthesisOf | NoAnswer


def answer_from(graph: PlanGraph, statuses: Statuses) -> Answer:
    """Return where the answer of a run comes from, once all its tasks have ended.

    A single last task that is completed has used all there is. Otherwise the results that nobody built upon are put
    together: in a plan that was done in full those of its last tasks, else what each branch came to.
    """
    done = {node for node in graph.nodes if statuses[node] is TaskStatus.COMPLETED}
    last = single_last(graph)
    if last is not None and last in done:
        return TheTextOf(last)
    ends = tuple(node for node in graph.nodes if node in done and done.isdisjoint(graph.dependents[node]))
    return SynthesisOf(ends) if ends else NoAnswer()
