"""Random graphs, random plans, and the obvious slow way to say who waits for whom."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan

AGENTS = ("analyst", "researcher", "writer")


@st.composite
def edges(draw: st.DrawFn, *, most: int = 8, least: int = 0) -> dict[str, list[str]]:
    """Dependencies without a circle, whose order in the plan has nothing to do with the order of the work."""
    count = draw(st.integers(least, most))
    names = [f"t{number}" for number in range(count)]
    work = draw(st.permutations(names))
    found = {
        node: draw(st.lists(st.sampled_from(work[:place]), unique=True, max_size=4)) if place else []
        for place, node in enumerate(work)
    }
    return {name: found[name] for name in names}


def graphs(*, most: int = 8, least: int = 0) -> st.SearchStrategy[PlanGraph]:
    """Graphs of up to `most` nodes."""
    return edges(most=most, least=least).map(PlanGraph)


def task(task_id: str, *depends_on: str, agent: str = "writer", instruction: str = "Do it.") -> dict[str, Any]:
    """A task as a model returns it."""
    return {
        "id": task_id,
        "agent": agent,
        "instruction": instruction,
        "depends_on": list(depends_on),
        "why_this_agent": "It can.",
    }


def plan_of(dependencies: Mapping[str, list[str]], **agents: str) -> Plan:
    """A plan with this graph."""
    tasks = [task(node, *needed, agent=agents.get(node, "writer")) for node, needed in dependencies.items()]
    return Plan.model_validate({"rationale": "So it goes.", "tasks": tasks})


def plans(*, most: int = 8) -> st.SearchStrategy[Plan]:
    """Plans of up to `most` tasks."""
    return edges(most=most, least=1).map(plan_of)


def waits_for(dependencies: Mapping[str, Any], node: str, other: str) -> bool:
    """Whether `node` waits for `other`, by trying every way."""
    return any(each == other or waits_for(dependencies, each, other) for each in dependencies[node])
