"""Estimates of plans from what their agents' tasks took before."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, func, select, true
from sqlalchemy.orm import Session

from models import Run, Task, UserAgent, UserOrchestrator
from models.statuses import TaskStatus
from models.tenancy import Database
from orchestrator.planning import TeamMember
from orchestrator.plans.closing import closed
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from orchestrator.plans.plan_estimate import PlanEstimate, estimate_plan
from orchestrator.plans.task_estimate import TaskEstimate, TaskSample, estimate_task, prior_of
from settings import Settings
from workspace.names import CLOSING_ID, WorkspaceKey

SAMPLES = 50
"""Completed tasks that are looked at, the last ones: with so many the assumed figures hardly matter any more."""


class HistoryEstimator:
    """Estimates plans; implements `orchestrator.planning.Estimator`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._prices = settings.model_prices
        self._default_model = settings.default_model

    def estimate(self, key: WorkspaceKey, plan: Plan, team: Sequence[TeamMember]) -> PlanEstimate:
        """Return the estimate of a valid plan, that of its closing task with it if that will write an answer."""
        graph = PlanGraph.of(plan)
        named = {task.agent for task in plan.tasks}
        members = {member.roster.name: member for member in team if member.roster.name in named}
        with self._database.tenant_session(key.user_id) as session:
            samples = _samples(session, key, [member.agent_id for member in members.values()])
            # A single last task's text is the answer itself.
            closing = self._closing(session, key) if len(graph.sinks) > 1 else None
        agents = {name: self._task(member.model, samples[member.agent_id]) for name, member in members.items()}
        tasks = {task.id: agents[task.agent] for task in plan.tasks}
        if closing:
            graph = closed(graph)
            tasks[CLOSING_ID] = closing
        return estimate_plan(graph, tasks)

    def _task(self, model: str, samples: Sequence[TaskSample]) -> TaskEstimate:
        return estimate_task(prior_of(self._prices.get(model)), samples)

    def _closing(self, session: Session, key: WorkspaceKey) -> TaskEstimate:
        model = session.scalars(_CLOSING_MODEL, {"project": key.project_id}).one_or_none()
        rows = session.execute(_ANSWERS_WRITTEN, {"project": key.project_id})
        return self._task(model or self._default_model, [_sample(*row) for row in rows])


def _samples(session: Session, key: WorkspaceKey, agents: Sequence[UUID]) -> Mapping[UUID, list[TaskSample]]:
    found: defaultdict[UUID, list[TaskSample]] = defaultdict(list)
    for agent_id, *figures in session.execute(_LAST_TASKS, {"project": key.project_id, "agents": agents}):
        found[agent_id].append(_sample(*figures))
    return found


def _own_seconds() -> ColumnElement[float]:
    """The running time of a task that has ended: what it waited for a person is not in it."""
    return Task.ran_seconds + func.extract("epoch", Task.finished_at - Task.started_at)


def _tokens() -> ColumnElement[int]:
    tokens: ColumnElement[int] = Task.usage["total_tokens"].as_integer()
    return tokens


def _cost() -> ColumnElement[str]:
    cost: ColumnElement[str] = Task.usage["cost_usd"].as_string()
    return cost


def _last_tasks() -> Select[Any]:
    """The last completed tasks of each agent, by an index that has them in this order."""
    last = (
        select(_own_seconds().label("seconds"), _tokens().label("tokens"), _cost().label("cost"))
        # One that never started here has the result of an earlier run.
        .where(Task.agent_id == UserAgent.id, Task.status == TaskStatus.COMPLETED, Task.started_at.is_not(None))
        .order_by(Task.finished_at.desc())
        .limit(SAMPLES)
        .lateral()
    )
    return (
        select(UserAgent.id, last.c.seconds, last.c.tokens, last.c.cost)
        .join(last, true())
        .where(UserAgent.id.in_(bindparam("agents", expanding=True)), UserAgent.project_id == bindparam("project"))
    )


def _answers_written() -> Select[float, int, str]:
    """The closing tasks of the last runs in which those asked a model: most have nothing to write."""
    return (
        select(_own_seconds(), _tokens(), _cost())
        .join(Run, Run.id == Task.run_id)
        .where(
            Run.project_id == bindparam("project"),
            Run.outcome.is_not(None),
            Task.plan_task_id == CLOSING_ID,
            Task.status == TaskStatus.COMPLETED,
            _tokens() > 0,
        )
        .order_by(Run.finished_at.desc())
        .limit(SAMPLES)
    )


# Made once: to put one together takes as long as to run it.
_LAST_TASKS = _last_tasks()
_ANSWERS_WRITTEN = _answers_written()
_CLOSING_MODEL = select(UserOrchestrator.config["model"].as_string()).where(
    UserOrchestrator.project_id == bindparam("project")
)


def _sample(seconds: float | Decimal | None, tokens: int | None, cost: str | None) -> TaskSample:
    return TaskSample(
        seconds=max(float(seconds or 0), 0.0),  # also where a clock was set back meanwhile
        cost_usd=None if cost is None else Decimal(cost),
        tokens=tokens or 0,
    )
