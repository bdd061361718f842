"""The yes to a plan with changes: some of its tasks otherwise, and what its tools may do without being asked for.

All of it is worked out before the decision, which takes no longer for it, and written with the decision or not at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import ApprovalRequest, Json, Run
from models.statuses import ApprovalStatus, ApprovalType, Decision
from orchestrator.planning import Estimator, Team, TeamMember
from orchestrator.plans.edits import EditedPlan, PlanEdits, edit
from orchestrator.plans.plan import Plan
from orchestrator.viewing import plan_of, plan_view
from workspace.approvals.advance import WantedGrant, mistakes
from workspace.approvals.history import shown_status
from workspace.approvals.manager import ApprovalManager
from workspace.errors import InputMistake, InvalidParts
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanView
from workspace.tools.registry import ToolRegistry

MOST_GRANTS = 20
"""Grants that come with one yes."""


@dataclass(frozen=True, kw_only=True)
class PlanAnswer:
    """What comes with the yes to a plan."""

    edits: PlanEdits = field(default_factory=PlanEdits)
    grants: tuple[WantedGrant, ...] = ()


class _Changed(NamedTuple):
    view: PlanView
    bereft: tuple[str, ...] = ()
    """The tasks that have to do without the result of one that was dropped."""


class PlanAnswers:
    """Takes such answers."""

    def __init__(
        self, approvals: ApprovalManager, team: Team, estimator: Estimator, tools: ToolRegistry, *, run_max_age: float
    ) -> None:
        """Take what it needs.

        Args:
            run_max_age: seconds from a run's message to its end at the latest; its grants last as long.
        """
        self._approvals = approvals
        self._team = team
        self._estimator = estimator
        self._tools = tools
        self._run_max_age = timedelta(seconds=run_max_age)

    def approve(
        self, key: WorkspaceKey, approval_id: UUID, answer: PlanAnswer, *, reason: str | None = None
    ) -> ApprovalRequest:
        """Say yes to a plan with changes.

        Raises:
            NotFound: no such approval in the project.
            ApprovalAlreadyDecided: it is not open any more.
            ApprovalExpired: its time is over.
            InvalidInput: it is not for a plan, or the changes make no sense; each mistake is named.
        """
        approval = self._approvals.history.get(key, approval_id)
        changed = None
        # What is of another kind, or not open any more, the decision itself refuses.
        if approval.type is ApprovalType.PLAN and shown_status(approval) is ApprovalStatus.PENDING:
            changed = self._changed(key, PlanView.model_validate(approval.payload["plan"]), answer)

        def write(session: Session, approval: ApprovalRequest) -> Json:
            assert changed is not None
            return self._write(session, approval, changed, answer)

        return self._approvals.confirm(key, approval_id, Decision.APPROVE, reason=reason, on_yes=write)

    def _changed(self, key: WorkspaceKey, asked: PlanView, answer: PlanAnswer) -> _Changed:
        """Return the plan as it is after its edits.

        Raises:
            InvalidInput: they, or the grants, make no sense.
        """
        team = self._team.of(key)
        found = _edited(asked, answer.edits, team)
        wrong = [] if isinstance(found, EditedPlan) else found
        agents = {task.agent_name for task in asked.tasks} | set(answer.edits.agents.values())
        if isinstance(found, EditedPlan):
            agents = {task.agent for task in found.plan.tasks}
        usable = {tool for member in team if member.roster.name in agents for tool in member.roster.tools}
        wrong += _wrong_grants(answer.grants, self._tools, usable)
        if wrong or not isinstance(found, EditedPlan):
            raise InvalidParts(wrong)
        if answer.edits == PlanEdits():
            return _Changed(asked)
        return _Changed(self._view(key, asked, found.plan, team), found.bereft)

    def _view(self, key: WorkspaceKey, asked: PlanView, plan: Plan, team: Sequence[TeamMember]) -> PlanView:
        """Return an edited plan, estimated anew, under the ids of the one that was asked about.

        No two tasks that are left change their order by edits, so ids that ascended with it still do.
        """
        view = plan_view(plan, asked.source, self._estimator.estimate(key, plan, team), team)
        ids = {task.id: task.task_id for task in asked.tasks}
        tasks = tuple(task.model_copy(update={"task_id": ids[task.id]}) for task in view.tasks)
        return view.model_copy(update={"plan_id": asked.plan_id, "tasks": tasks})

    def _write(self, session: Session, approval: ApprovalRequest, changed: _Changed, answer: PlanAnswer) -> Json:
        begun = session.scalars(select(Run.created_at).where(Run.id == approval.run_id)).one()
        grants = self._approvals.grants.make_in_advance(
            session, approval, answer.grants, until=begun + self._run_max_age
        )
        edits = answer.edits.model_dump(mode="json")
        return {
            "plan": changed.view.model_dump(mode="json"),
            "edits": edits | {"drop": sorted(answer.edits.drop)},
            "bereft": list(changed.bereft),
            "grants": [
                {
                    "id": str(grant.id),
                    "tool": grant.tool,
                    "patterns": grant.patterns,
                    "risk": grant.risk,
                    "expires_at": grant.expires_at.isoformat(),
                }
                for grant in grants
            ],
        }


def _edited(asked: PlanView, edits: PlanEdits, team: Sequence[TeamMember]) -> EditedPlan | list[InputMistake]:
    plan = plan_of(asked)
    if edits == PlanEdits():
        return EditedPlan(plan, ())
    found = edit(plan, edits, [member.roster.name for member in team])
    if isinstance(found, EditedPlan):
        return found
    return [
        InputMistake(("edits", mistake.task_id) if mistake.task_id else ("edits",), mistake.code.value, mistake.text)
        for mistake in found
    ]


def _wrong_grants(grants: Sequence[WantedGrant], tools: ToolRegistry, usable: set[str]) -> Iterator[InputMistake]:
    for place, grant in enumerate(grants):
        for text in mistakes(grant, tools, usable):
            yield InputMistake(("grants", place), "bad_grant", text)
