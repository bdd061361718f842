"""A plan as the text of a Mermaid diagram.

The texts of a plan come from a model, which may have read something that wants to become part of the page. So nothing
of them is syntax here: nodes have names of our own, and in labels all but letters, digits and spaces is written as a
number (`#34;`), which Mermaid turns into text after everything else that it does with a label: after directives,
markdown, icons and HTML.
"""

from collections.abc import Mapping, Sequence

from models.statuses import TaskStatus
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan, PlannedTask
from orchestrator.plans.reduction import reduced
from workspace.tools.showing import shown

MAX_LABEL = 60
"""Characters of an instruction in a label."""

_COLOURS = {
    TaskStatus.RUNNING: "fill:#dbeafe,stroke:#2563eb",
    TaskStatus.WAITING: "fill:#fef3c7,stroke:#d97706",
    TaskStatus.COMPLETED: "fill:#dcfce7,stroke:#16a34a",
    TaskStatus.FAILED: "fill:#fee2e2,stroke:#dc2626",
    TaskStatus.SKIPPED: "fill:#f3f4f6,stroke:#9ca3af",
    TaskStatus.CANCELLED: "fill:#f3f4f6,stroke:#6b7280",
}
"""Of the statuses that stand out. Without a semicolon: Mermaid would take a line that ends in one apart."""


def mermaid(plan: Plan, statuses: Mapping[str, TaskStatus] | None = None) -> str:
    """Return the diagram of a valid plan, without the edges that follow from others.

    Args:
        plan: what is drawn, each task with its agent and the beginning of its instruction.
        statuses: those of its tasks, by their ids, if they are to be seen.
    """
    graph = reduced(PlanGraph.of(plan))
    names = {node: f"n{place}" for place, node in enumerate(graph.nodes)}
    lines = ["graph TD"]
    lines += [f'    {names[task.id]}["{_label(task)}"]' for task in plan.tasks]
    lines += [f"    {names[each]} --> {names[node]}" for node in graph.nodes for each in graph.dependencies[node]]
    lines += _classes(names, statuses or {})
    return "\n".join(lines) + "\n"


def _label(task: PlannedTask) -> str:
    instruction = " ".join(task.instruction.split())
    if len(instruction) > MAX_LABEL:
        instruction = instruction[: MAX_LABEL - 1] + "…"
    return "<br/>".join(map(escaped, (f"{task.id}: {task.agent}", instruction)))


def escaped(text: str) -> str:
    """Return a text that is nothing but text to Mermaid, hidden characters made visible."""
    return "".join(each if each.isalnum() or each == " " else f"#{ord(each)};" for each in shown(text))


def _classes(names: Mapping[str, str], statuses: Mapping[str, TaskStatus]) -> Sequence[str]:
    lines = []
    for status, colours in _COLOURS.items():
        members = [name for node, name in names.items() if statuses.get(node) is status]
        if members:
            lines += [f"    classDef {status} {colours}", f"    class {','.join(members)} {status}"]
    return lines
