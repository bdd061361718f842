"""Plans to work with, estimated without any history."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from models import new_id
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.mermaid import mermaid
from orchestrator.plans.plan import Plan, PlannedTask
from workspace.plans.view import PlanDuration, PlanSource, PlanTask, PlanView, Range

ONE = Range(p50=1, p90=2)


def plan_for(graph: Mapping[str, Sequence[str]], agents: Mapping[str, str] | None = None) -> Plan:
    """Return a plan with these dependencies, by default all for the agent `helper`."""
    return Plan(
        rationale="As told.",
        tasks=tuple(
            PlannedTask(
                id=name,
                agent=(agents or {}).get(name, "helper"),
                instruction=f"Do {name}.",
                depends_on=tuple(needed),
                why_this_agent="It can.",
            )
            for name, needed in graph.items()
        ),
    )


def view_of(
    graph: Mapping[str, Sequence[str]],
    agents: Mapping[str, str] | None = None,
    ids: Mapping[str, UUID] | None = None,
) -> PlanView:
    """Return such a plan as it is stored.

    Args:
        graph: the tasks, each after what it depends on.
        agents: who does which.
        ids: of the agents by their names; new ones where there is none.
    """
    return stored(plan_for(graph, agents), ids or {})


def stored(plan: Plan, ids: Mapping[str, UUID]) -> PlanView:
    """Return a plan as it is stored and shown, with ids that ascend in the order of the work.

    Args:
        plan: a valid one.
        ids: of the agents by their names; new ones where there is none.
    """
    of_agents = {task.agent: new_id() for task in plan.tasks} | dict(ids)
    tasks = {task.id: task for task in plan.tasks}
    order = PlanGraph.of(plan).order
    return PlanView(
        plan_id=new_id(),
        source=PlanSource.MODEL,
        rationale=plan.rationale,
        tasks=tuple(_shown(tasks[name], of_agents[tasks[name].agent]) for name in order),
        estimated_duration=PlanDuration(parallel=ONE, sequential=ONE),
        estimated_cost=ONE,
        critical_path=tuple(order),
        mermaid=mermaid(plan),
    )


def _shown(task: PlannedTask, agent_id: UUID) -> PlanTask:
    return PlanTask(
        task_id=new_id(),
        id=task.id,
        agent_id=agent_id,
        agent_name=task.agent,
        instruction=task.instruction,
        depends_on=task.depends_on,
        why_this_agent=task.why_this_agent,
        estimated_duration=ONE,
        estimated_cost=ONE,
        samples=0,
    )
