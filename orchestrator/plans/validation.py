"""Whether a plan may run: its form, its agents and its graph. All that is wrong with it is named at once."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from orchestrator.plans.cycles import cycles
from orchestrator.plans.form import DraftTask, drafts, mistakes_of_form
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.mistakes import MistakeCode, Mistakes, PlanMistake, quoted
from orchestrator.plans.plan import MAX_DEPTH, MAX_TASKS, Plan

MOST_NAMES = 50
"""Agents that a sentence lists."""


def validate(value: object, agents: Collection[str]) -> Plan | Mistakes:
    """Return the plan that any JSON value is, or its mistakes; never raises.

    Args:
        value: what the model returned, parsed.
        agents: the names of the agents that may be given a task.
    """
    tasks = drafts(value)
    mistakes = [
        *mistakes_of_form(value),
        *_mistakes_of_agents(tasks, agents),
        *_mistakes_of_ids(tasks),
        *_mistakes_of_dependencies(tasks),
        *_mistakes_of_order(tasks),
    ]
    return tuple(mistakes) if mistakes else Plan.model_validate(value)


def _mistakes_of_agents(tasks: Sequence[DraftTask], agents: Collection[str]) -> Iterator[PlanMistake]:
    known = frozenset(agents)
    names = ", ".join(map(quoted, sorted(known)[:MOST_NAMES])) or "none"
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    for task in tasks:
        if task.agent is not None and task.agent not in known:
            yield _of(
                MistakeCode.UNKNOWN_AGENT,
                task,
                f"is for the agent {quoted(task.agent)}, which does not exist; the agents are: {names}{more}",
            )


def _mistakes_of_ids(tasks: Sequence[DraftTask]) -> Iterator[PlanMistake]:
    numbers: dict[str, int] = {}
    for task in tasks:
        if task.id is not None and numbers.setdefault(task.id, task.number) != task.number:
            yield PlanMistake(
                MistakeCode.DUPLICATE_ID,
                task.well_formed_id,
                f"Tasks {numbers[task.id]} and {task.number} have the same id, {quoted(task.id)}.",
            )


def _mistakes_of_dependencies(tasks: Sequence[DraftTask]) -> Iterator[PlanMistake]:
    ids = {task.id for task in tasks}
    for task in tasks:
        for dependency, times in Counter(task.depends_on).items():
            if dependency == task.id:
                yield _of(MistakeCode.SELF_DEPENDENCY, task, "depends on itself")
            elif dependency not in ids:
                yield _of(
                    MistakeCode.DANGLING_DEPENDENCY,
                    task,
                    f"depends on {quoted(dependency)}, which is no task of the plan",
                )
            if times > 1:
                yield _of(
                    MistakeCode.DUPLICATE_DEPENDENCY, task, f"names its dependency {quoted(dependency)} {times} times"
                )


def _mistakes_of_order(tasks: Sequence[DraftTask]) -> Iterator[PlanMistake]:
    """Yield what is wrong with the graph that is left without the mistakes that others name."""
    first: dict[str, DraftTask] = {}
    for task in tasks:
        if task.id is not None:
            first.setdefault(task.id, task)
    graph = {
        task_id: tuple(each for each in task.depends_on if each in first and each != task_id)
        for task_id, task in first.items()
    }
    # More of them than a plan may have tasks would be no help.
    circles = list(islice(cycles(graph), MAX_TASKS))
    for circle in circles:
        text = f"These tasks wait for one another, each for the next one: {_path(circle)}."
        yield PlanMistake(MistakeCode.CYCLE, first[circle[0]].well_formed_id, text)
    if not circles and (depth := PlanGraph(graph).depth) > MAX_DEPTH:
        text = f"{depth} tasks of the plan wait for one another in a row; {MAX_DEPTH} may."
        yield PlanMistake(MistakeCode.TOO_DEEP, None, text)


def _path(circle: Sequence[str]) -> str:
    """Return a circle as it is told; the middle of one that is longer than any plan may be is left out."""
    half = MAX_TASKS // 2
    shown = circle if len(circle) <= MAX_TASKS else (*circle[:half], *circle[-half:])
    path = [*map(quoted, shown), quoted(circle[0])]
    if len(circle) > MAX_TASKS:
        path.insert(half, f"... {len(circle) - 2 * half} more ...")
    return " -> ".join(path)


def _of(code: MistakeCode, task: DraftTask, text: str) -> PlanMistake:
    return PlanMistake(code, task.well_formed_id, f"{task.label[0].upper()}{task.label[1:]} {text}.")
