"""A request has a plan whatever its planner and its estimator come to."""

import time
from collections.abc import Sequence
from uuid import UUID

import pytest

from models.statuses import MessageRole
from orchestrator.config import OrchestratorConfig, PlanApproval
from orchestrator.personal import PersonalOrchestrator
from orchestrator.plan_approvals import PlanApprovals
from orchestrator.planning import Planned, PlanningRequest, TeamMember
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan import Plan
from orchestrator.plans.plan_estimate import PlanEstimate, estimate_plan
from orchestrator.plans.roster import RosterAgent
from orchestrator.plans.task_estimate import estimate_task, prior_of
from tests.support.plans import plan_for
from workspace.errors import AgentDeleted, Cancelled
from workspace.events import Usage
from workspace.history import PastMessage
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanSource

KEY = WorkspaceKey(UUID(int=1), UUID(int=2))
HELPER = TeamMember(agent_id=UUID(int=3), version=7, model="m", roster=RosterAgent("helper"))
ASKED = [PastMessage(MessageRole.USER, "Do it.")]


class Team:
    """Those who are there."""

    def __init__(self, *members: TeamMember, config: OrchestratorConfig | None = None) -> None:
        self._members = members
        self._config = config or OrchestratorConfig()

    def of(self, key: WorkspaceKey) -> Sequence[TeamMember]:
        return self._members

    def with_config(self, key: WorkspaceKey) -> tuple[Sequence[TeamMember], OrchestratorConfig, int]:
        return self._members, self._config, 0

    def config(self, key: WorkspaceKey) -> tuple[OrchestratorConfig, int]:
        return self._config, 0


class Planner:
    """Makes one plan, or fails."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self._failure = failure

    def plan(self, request: PlanningRequest, watch: Watch) -> Planned:
        if self._failure:
            raise self._failure
        return Planned(plan=plan_for({"a": [], "b": ["a"]}), source=PlanSource.MODEL, usage=Usage(total_tokens=9))


class Estimator:
    """Knows the assumed figures, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure

    def estimate(self, key: WorkspaceKey, plan: Plan, team: Sequence[TeamMember]) -> PlanEstimate:
        if self._failure:
            raise self._failure
        return estimate_plan(PlanGraph.of(plan), {task.id: estimate_task(prior_of(None), ()) for task in plan.tasks})


def orchestrator(
    team: Team, planner: Planner | None = None, estimator: Estimator | None = None
) -> PersonalOrchestrator:
    return PersonalOrchestrator(
        team=team,
        planner=planner or Planner(),
        estimator=estimator or Estimator(),
        approvals=PlanApprovals(timeout=300),
    )


def watch(stop: StopSignal | None = None) -> Watch:
    return Watch(stop or StopSignal(), deadline=time.monotonic() + 60, on_wait=lambda: 1.0)


def test_a_request_is_planned_without_running_anything() -> None:
    proposal = orchestrator(Team(HELPER)).propose(KEY, UUID(int=4), ASKED, watch())
    assert [(task.id, task.agent_id, task.depends_on) for task in proposal.view.tasks] == [
        ("a", HELPER.agent_id, ()),
        ("b", HELPER.agent_id, ("a",)),
    ]
    assert (proposal.view.source, proposal.usage.total_tokens, proposal.reasons) == (PlanSource.MODEL, 9, ())


def test_a_planner_that_crashes_leaves_a_simple_plan() -> None:
    proposal = orchestrator(Team(HELPER), Planner(ZeroDivisionError())).propose(KEY, UUID(int=4), ASKED, watch())
    assert proposal.view.source is PlanSource.FALLBACK
    assert [task.agent_name for task in proposal.view.tasks] == ["helper"]


def test_an_estimator_that_crashes_leaves_the_assumed_figures() -> None:
    broken = orchestrator(Team(HELPER), estimator=Estimator(ZeroDivisionError()))
    whole = orchestrator(Team(HELPER))
    first, second = (each.propose(KEY, UUID(int=4), ASKED, watch()).view for each in (broken, whole))
    assert first.estimated_duration == second.estimated_duration


def test_a_planner_that_is_stopped_is_no_crash() -> None:
    with pytest.raises(Interrupted):
        orchestrator(Team(HELPER), Planner(Interrupted(Cancelled()))).propose(KEY, UUID(int=4), ASKED, watch())


def test_a_stop_that_the_planner_did_not_hear_is_heard_after_it() -> None:
    stop = StopSignal()
    stop.stop(Cancelled())
    with pytest.raises(Interrupted):
        orchestrator(Team(HELPER)).propose(KEY, UUID(int=4), ASKED, watch(stop))


def test_a_project_whose_agents_are_gone_has_no_plan() -> None:
    with pytest.raises(AgentDeleted):
        orchestrator(Team()).propose(KEY, UUID(int=4), ASKED, watch())


def test_the_policy_says_why_the_owner_is_asked() -> None:
    careful = orchestrator(Team(HELPER, config=OrchestratorConfig(plan_approval=PlanApproval.ALWAYS)))
    proposal = careful.propose(KEY, UUID(int=4), ASKED, watch())
    assert proposal.reasons
    assert careful.reasons(KEY, proposal.view) == proposal.reasons
