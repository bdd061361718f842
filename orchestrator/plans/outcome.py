"""What became of a plan: which tasks cannot run any more, how the run stands, and where its answer comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.statuses import RunStatus, TaskStatus
from orchestrator.plans.closing import single_last
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan

Statuses = Mapping[str, TaskStatus]
"""Those of all tasks of a plan, by their ids, without its closing task."""

GONE_WRONG = frozenset({TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})
"""Ends without a result: what depends on such a task cannot run."""

_MOVING = frozenset({TaskStatus.HELD, TaskStatus.QUEUED, TaskStatus.RUNNING})


def to_skip(graph: PlanGraph, statuses: Statuses) -> tuple[str, ...]:
    """Return the tasks that are `pending` and wait, directly or not, for one that has no result and will have none."""
    lost: set[str] = set()
    for node in graph.order:
        if statuses[node] in GONE_WRONG or not lost.isdisjoint(graph.dependencies[node]):
            lost.add(node)
    return tuple(node for node in graph.nodes if node in lost and statuses[node] is TaskStatus.PENDING)


def to_repeat(statuses: Statuses) -> tuple[str, ...]:
    """Return the tasks that a retry of the run does again: all that have no result."""
    return tuple(node for node, status in statuses.items() if status in GONE_WRONG)


def run_status(statuses: Statuses, *, cancel_requested: bool = False) -> RunStatus:
    """Return how a run stands by its tasks.

    It goes on while one of them can; it is waiting while nothing moves and a person is asked. A plan that was done in
    full is completed, even if someone asked to cancel it. Without any result it has failed, unless nothing failed and
    tasks were only cancelled, as when their agents are deleted.
    """
    found = set(statuses.values())
    if not all(status.is_final for status in found):
        waiting = TaskStatus.WAITING in found and found.isdisjoint(_MOVING)
        return RunStatus.WAITING if waiting else RunStatus.RUNNING
    if found == {TaskStatus.COMPLETED}:
        return RunStatus.COMPLETED
    if cancel_requested:
        return RunStatus.CANCELLED
    if TaskStatus.COMPLETED in found:
        return RunStatus.PARTIAL
    return RunStatus.CANCELLED if found and TaskStatus.FAILED not in found else RunStatus.FAILED


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


@dataclass(frozen=True)
class TaskOutcome:
    """A line of the table of outcomes."""

    task_id: str
    agent: str
    status: TaskStatus
    because_of: tuple[str, ...]
    """Of a task that was skipped: the tasks before it that went wrong by themselves."""
    detail: str | None
    """What is told of its failure."""


def outcomes(plan: Plan, statuses: Statuses, details: Mapping[str, str]) -> tuple[TaskOutcome, ...]:
    """Return the table of outcomes, in the plan's order."""
    graph = PlanGraph.of(plan)
    return tuple(
        TaskOutcome(
            task_id=task.id,
            agent=task.agent,
            status=statuses[task.id],
            because_of=_causes(graph, statuses, task.id),
            detail=details.get(task.id),
        )
        for task in plan.tasks
    )


def _causes(graph: PlanGraph, statuses: Statuses, node: str) -> tuple[str, ...]:
    if statuses[node] is not TaskStatus.SKIPPED:
        return ()
    before = graph.ancestors(node)
    by_themselves = GONE_WRONG - {TaskStatus.SKIPPED}
    return tuple(each for each in graph.nodes if each in before and statuses[each] in by_themselves)
