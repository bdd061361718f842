"""A plan as it is stored and shown: with the ids of its tasks, its estimate and its picture."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from models.base import new_id
from models.statuses import TaskStatus
from orchestrator.planning import TeamMember
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.mermaid import mermaid
from orchestrator.plans.plan import Plan, PlannedTask
from orchestrator.plans.plan_estimate import PlanEstimate
from orchestrator.plans.spread import Spread
from orchestrator.plans.task_estimate import TaskEstimate
from workspace.names import CLOSING_ID
from workspace.plans.view import PlanDuration, PlanSource, PlanTask, PlanView, Range


def plan_view(plan: Plan, source: PlanSource, estimate: PlanEstimate, team: Sequence[TeamMember]) -> PlanView:
    """Return how a valid plan is stored and shown, its tasks in the plan's order, each with a new id.

    The ids ascend as the tasks may follow one another, so rows that are locked by ascending id are locked in an order
    that every task of the plan agrees on.

    Args:
        plan: whose agents are all of the team.
        source: where it comes from.
        estimate: of the plan; what it says of a closing task is in its sums only.
        team: the agents of the project.
    """
    ids = task_ids(PlanGraph.of(plan))
    members = {member.roster.name: member for member in team}
    return PlanView(
        plan_id=new_id(),
        source=source,
        rationale=plan.rationale,
        tasks=tuple(
            _task(task, ids[task.id], members[task.agent].agent_id, estimate.tasks[task.id]) for task in plan.tasks
        ),
        estimated_duration=PlanDuration(
            parallel=_range(estimate.parallel_seconds), sequential=_range(estimate.sequential_seconds)
        ),
        estimated_cost=_range_or_none(estimate.cost_usd),
        critical_path=tuple(node for node in estimate.critical_path if node != CLOSING_ID),
        mermaid=mermaid(plan),
    )


def plan_of(view: PlanView) -> Plan:
    """Return the plan that a view shows."""
    return Plan(
        rationale=view.rationale,
        tasks=tuple(
            PlannedTask(
                id=task.id,
                agent=task.agent_name,
                instruction=task.instruction,
                depends_on=task.depends_on,
                why_this_agent=task.why_this_agent,
            )
            for task in view.tasks
        ),
    )


def task_ids(graph: PlanGraph) -> dict[str, UUID]:
    """Return new ids for the tasks of a plan, which ascend in the order of the work.

    They are sorted: a clock that is set back between two of them must not turn their order round.
    """
    return dict(zip(graph.order, sorted(new_id() for _ in graph.order), strict=True))


def drawn(view: PlanView, statuses: Mapping[str, TaskStatus]) -> str:
    """Return the Mermaid text of a plan under way.

    Args:
        view: the plan.
        statuses: those of its tasks, by their ids in the plan; others, as of the closing task, are left out.
    """
    return mermaid(plan_of(view), statuses)


def _task(task: PlannedTask, task_id: UUID, agent_id: UUID, estimate: TaskEstimate) -> PlanTask:
    return PlanTask(
        task_id=task_id,
        id=task.id,
        agent_id=agent_id,
        agent_name=task.agent,
        instruction=task.instruction,
        depends_on=task.depends_on,
        why_this_agent=task.why_this_agent,
        estimated_duration=_range(estimate.seconds),
        estimated_cost=_range_or_none(estimate.cost_usd),
        samples=estimate.samples,
    )


def _range(spread: Spread) -> Range:
    return Range(p50=spread.p50, p90=spread.p90)


def _range_or_none(spread: Spread | None) -> Range | None:
    return None if spread is None else _range(spread)
