"""What became of a plan, worked out from the rows of its tasks."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from models import Run, Task
from models.statuses import RunStatus, TaskStatus
from workspace.events import Usage
from workspace.names import ORCHESTRATOR
from workspace.plans.view import PlanOutcome, PlanView, TaskOutcomeView
from workspace.usage import NO_USAGE, total

BY_THEMSELVES = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED})
"""Ends without a result that do not come from that of another task."""
WITHOUT_RESULT = BY_THEMSELVES | {TaskStatus.SKIPPED}
"""What depends on such a task cannot run."""


def plan_outcome(plan: PlanView, tasks: Sequence[Task]) -> PlanOutcome:
    """Return what became of a plan.

    Args:
        plan: as it is in `runs.plan`.
        tasks: every task of its run, the orchestrator's own ones included.
    """
    rows = {task.plan_task_id: task for task in tasks if task.plan_task_id is not None}
    planned = [rows[each.id] for each in plan.tasks if each.id in rows]
    return PlanOutcome(
        tasks=tuple(_view(task, tasks) for task in planned),
        duration=_span(planned),
        cost=usage_of(tasks).cost_usd,
    )


def outcome_of(run: Run, tasks: Sequence[Task]) -> PlanOutcome | None:
    """Return what became of a run's plan; `None` if it has none, or none that was ever launched."""
    if run.plan is None or not any(map(is_planned, tasks)):
        return None
    return plan_outcome(PlanView.model_validate(run.plan), tasks)


def ended_as(statuses: Collection[TaskStatus]) -> RunStatus:
    """Return how a run ends by the tasks of its agents, all of which have ended.

    Without any result it has failed, unless nothing failed and tasks were only cancelled, as when their agents are
    deleted.
    """
    found = set(statuses)
    if found == {TaskStatus.COMPLETED}:
        return RunStatus.COMPLETED
    if TaskStatus.COMPLETED in found:
        return RunStatus.PARTIAL
    return RunStatus.CANCELLED if found and TaskStatus.FAILED not in found else RunStatus.FAILED


def usage_of(tasks: Iterable[Task]) -> Usage:
    """Return what tasks used together."""
    used = NO_USAGE
    for task in tasks:
        used = total(used, Usage.model_validate(task.usage))
    return used


def causes(task: Task, tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return the tasks before a skipped one that went wrong by themselves, by their ids in the plan."""
    if task.status is not TaskStatus.SKIPPED:
        return ()
    rows = {each.id: each for each in tasks}
    before = ancestors(task.id, {each.id: each.follows for each in tasks})
    return tuple(
        rows[each].plan_task_id or "" for each in sorted(before) if each in rows and rows[each].status in BY_THEMSELVES
    )


def ancestors(task: UUID, follows: Mapping[UUID, Sequence[UUID]]) -> set[UUID]:
    """Return all that a task waits for, directly or not."""
    found: set[UUID] = set()
    waiting = list(follows.get(task, ()))
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting.extend(follows.get(each, ()))
    return found


def is_planned(task: Task) -> bool:
    """Whether a task is one of an agent, not one that the orchestrator does itself."""
    return task.agent_name != ORCHESTRATOR


def _view(task: Task, tasks: Sequence[Task]) -> TaskOutcomeView:
    return TaskOutcomeView(
        task_id=task.id,
        id=task.plan_task_id or "",
        agent_name=task.agent_name,
        status=task.status,
        because_of=causes(task, tasks),
        detail=(task.error or {}).get("detail"),
        duration=_own_seconds(task),
        cost=Usage.model_validate(task.usage).cost_usd,
    )


def _own_seconds(task: Task) -> float | None:
    if task.started_at is None:
        return None
    # A parked task names no node any more, and all of its running time lies before its last start.
    ends = task.finished_at if task.node_id is not None else None
    return round(task.ran_seconds + ((ends - task.started_at).total_seconds() if ends else 0), 3)


def _span(tasks: Sequence[Task]) -> float:
    # Of one that was parked only the last start is known. What starts first does so when the plan is launched, which is
    # when all of its rows were made.
    starts = [task.created_at if task.ran_seconds else task.started_at for task in tasks if task.started_at]
    ends = [task.finished_at for task in tasks if task.started_at and task.finished_at]
    if not ends:
        return 0.0
    return round((max(ends) - min(start for start in starts if start is not None)).total_seconds(), 3)
