"""What an owner changes of a plan while approving it.

Where a task is dropped, what depended on it depends on what it depended on: without the review, the text that was
written is still published after it was written. Nothing that the owner did not name goes away, and no two of the tasks
that are left change their order. But a task may miss the result of one that is gone, so those are told.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.mistakes import MistakeCode, Mistakes, PlanMistake, quoted
from orchestrator.plans.plan import MAX_TASKS, Plan, PlannedTask
from orchestrator.plans.validation import validate

CHOSEN_BY_OWNER = "Chosen by the owner."


class PlanEdits(BaseModel):
    """Changes of a plan, by the ids of its tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: frozenset[str] = Field(frozenset(), max_length=MAX_TASKS, description="tasks that are not to be done")
    instructions: dict[str, str] = Field({}, max_length=MAX_TASKS, description="new instructions")
    agents: dict[str, str] = Field({}, max_length=MAX_TASKS, description="other agents, by their names")


@dataclass(frozen=True)
class EditedPlan:
    """A plan after its edits."""

    plan: Plan
    bereft: tuple[str, ...]
    """The tasks that depended on one that was dropped, and now have to do without its result."""


def edit(plan: Plan, edits: PlanEdits, agents: Collection[str]) -> EditedPlan | Mistakes:
    """Return a valid plan with edits, or what is wrong with them; all of it at once, as with a plan of a model.

    Args:
        plan: what was asked about.
        edits: what the owner answered.
        agents: the names of the agents that may be given a task.
    """
    unfit = tuple(_mistakes(plan, edits))
    dependencies = _bridged(PlanGraph.of(plan), edits.drop)
    tasks = [_edited(task, edits, dependencies[task.id]) for task in plan.tasks if task.id not in edits.drop]
    found = validate({"rationale": plan.rationale, "tasks": tasks}, agents)
    if not isinstance(found, Plan):
        return unfit + found
    if unfit:
        return unfit
    bereft = tuple(
        task.id for task in plan.tasks if task.id not in edits.drop and not edits.drop.isdisjoint(task.depends_on)
    )
    return EditedPlan(found, bereft)


def _mistakes(plan: Plan, edits: PlanEdits) -> Iterator[PlanMistake]:
    known = {task.id for task in plan.tasks}
    named = dict.fromkeys([*sorted(edits.drop), *edits.instructions, *edits.agents])
    for task_id in named:
        if task_id not in known:
            yield PlanMistake(MistakeCode.UNKNOWN_TASK, None, f"The plan has no task {quoted(task_id)}.")
        elif task_id in edits.drop and (task_id in edits.instructions or task_id in edits.agents):
            text = f"Task {quoted(task_id)} cannot be dropped and changed at once."
            yield PlanMistake(MistakeCode.DROPPED_TASK, task_id, text)


def _bridged(graph: PlanGraph, dropped: Collection[str]) -> Mapping[str, list[str]]:
    """Return what each task depends on, where those that are dropped stand for what they depend on."""
    bridged: dict[str, list[str]] = {}
    for node in graph.order:
        found = [step for each in graph.dependencies[node] for step in (bridged[each] if each in dropped else [each])]
        bridged[node] = list(dict.fromkeys(found))
    return bridged


def _edited(task: PlannedTask, edits: PlanEdits, dependencies: list[str]) -> dict[str, object]:
    moved = task.id in edits.agents and edits.agents[task.id] != task.agent
    return {
        "id": task.id,
        "agent": edits.agents.get(task.id, task.agent),
        "instruction": edits.instructions.get(task.id, task.instruction),
        "depends_on": dependencies,
        "why_this_agent": CHOSEN_BY_OWNER if moved else task.why_this_agent,
    }
