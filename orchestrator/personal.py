"""A person's orchestrator: it makes a plan of a request for the agents of a project, and runs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from orchestrator.config import OrchestratorConfig
from orchestrator.plan_approvals import PlanApprovals
from orchestrator.planning import Estimator, Planned, Planner, PlanningRequest, Team, TeamMember
from orchestrator.plans.fallback import fallback_plan
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from orchestrator.plans.plan_estimate import PlanEstimate, estimate_plan
from orchestrator.plans.task_estimate import estimate_task, prior_of
from orchestrator.viewing import plan_view
from workspace.errors import AgentDeleted
from workspace.events import Usage
from workspace.history import PastMessage
from workspace.interruptible import Watch
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanSource, PlanView

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A plan that could be run."""

    view: PlanView
    usage: Usage
    """Of planning."""
    reasons: tuple[str, ...]
    """Why its owner has to be asked before; none: it may run."""


class PersonalOrchestrator:
    """Plans requests. Safe to share between threads."""

    def __init__(self, *, team: Team, planner: Planner, estimator: Estimator, approvals: PlanApprovals) -> None:
        self._team = team
        self._planner = planner
        self._estimator = estimator
        self._approvals = approvals

    def propose(self, key: WorkspaceKey, run_id: UUID, conversation: Sequence[PastMessage], watch: Watch) -> Proposal:
        """Return a plan for any request; where the planner has none, a simple one.

        Args:
            key: the workspace whose agents are to carry it out.
            run_id: for which run it is.
            conversation: what of the session fits, oldest first; the request is the last message.
            watch: looked at while the planner is waited for.

        Raises:
            AgentDeleted: the project has no agents any more.
            Interrupted: the run has to end.
        """
        team, config, version = self._team.with_config(key)
        if not team:
            raise AgentDeleted("The project has no agents any more.")
        request = PlanningRequest(
            key=key, run_id=run_id, config=config, config_version=version, team=team, conversation=conversation
        )
        planned = self._planned(request, watch)
        watch.check()
        view = plan_view(planned.plan, planned.source, self._estimate(key, planned.plan, team), team)
        return Proposal(view=view, usage=planned.usage, reasons=self._approvals.reasons(config, view, team))

    def reasons(self, key: WorkspaceKey, view: PlanView) -> tuple[str, ...]:
        """Return why the owner has to be asked before a plan may run, by the present policy."""
        team, config, _ = self._team.with_config(key)
        return self._approvals.reasons(config, view, team)

    def config(self, key: WorkspaceKey) -> OrchestratorConfig:
        """Return how a project plans."""
        return self._team.config(key)[0]

    def _planned(self, request: PlanningRequest, watch: Watch) -> Planned:
        try:
            return self._planner.plan(request, watch)
        except Exception:  # whatever a planner comes to, the message is answered
            log.exception("planner_crashed")
        roster = [member.roster for member in request.team]
        asked = request.conversation[-1].content
        plan = fallback_plan(asked, roster, most=request.config.max_tasks)
        return Planned(plan=plan, source=PlanSource.FALLBACK, usage=Usage())

    def _estimate(self, key: WorkspaceKey, plan: Plan, team: Sequence[TeamMember]) -> PlanEstimate:
        try:
            return self._estimator.estimate(key, plan, team)
        except Exception:  # an estimate is a help, not a condition
            log.exception("estimator_crashed")
        assumed = estimate_task(prior_of(None), ())
        return estimate_plan(PlanGraph.of(plan), {task.id: assumed for task in plan.tasks})
