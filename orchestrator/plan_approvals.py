"""Asking whether a plan may run: when its owner is asked, the row that asks, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import assert_never
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import ApprovalRequest, Json, UserAgent, new_id, utc_now
from models.statuses import ApprovalStatus, ApprovalType
from orchestrator.config import OrchestratorConfig, PlanApproval
from orchestrator.planning import TeamMember
from workspace.agent_config import AgentConfig
from workspace.approvals.requests import required
from workspace.errors import Cancelled, InternalFailure, PlanNotAnswered, PlanRejected, RunFailure
from workspace.events import Payload, PlanRequest
from workspace.ledger import StartedTask
from workspace.metrics import APPROVALS_ASKED
from workspace.names import ORCHESTRATOR
from workspace.plans.view import PlanView
from workspace.tools.digest import digest
from workspace.tools.risk import RiskLevel, highest_risk

MANY_TASKS = 3
"""A plan with more of them is complex."""

Tools = Mapping[str, Sequence[str]]
"""Of each agent of a plan, by its name."""


@dataclass(frozen=True)
class Approved:
    """The plan may run."""

    view: PlanView
    """As it is after what its owner changed of it."""


@dataclass(frozen=True)
class Declined:
    """The plan may not run, and its run ends with this."""

    failure: RunFailure


class PlanApprovals:
    """Decides whether the owner of a plan is asked, asks, and reads the answer."""

    def __init__(self, *, timeout: int) -> None:
        """Take what it needs.

        Args:
            timeout: seconds that an owner has to answer.
        """
        self._timeout = timeout

    def reasons(self, config: OrchestratorConfig, view: PlanView, team: Sequence[TeamMember]) -> tuple[str, ...]:
        """Return why the owner has to be asked whether a plan may run; nothing if it may."""
        match config.plan_approval:
            case PlanApproval.AUTO:
                return ()
            case PlanApproval.ALWAYS:
                return ("The project asks before each plan.",)
            case PlanApproval.COMPLEX:
                tools = {member.roster.name: member.roster.tools for member in team}
                return tuple(_complexity(config, view, tools))
            case _:
                assert_never(config.plan_approval)

    def ask(self, session: Session, task: StartedTask, view: PlanView, reasons: Sequence[str]) -> ApprovalRequest:
        """Ask the owner of a plan, in the caller's transaction, which holds the lock of the planning task.

        A plan is asked about once, however often this is tried.

        Args:
            task: the planning task, which waits for the answer.
            view: the plan.
            reasons: why its owner is asked.
        """
        if asked := _asked(session, task.id):
            return asked
        tools = _tools_of(session, view)
        risk = max(map(highest_risk, {name for names in tools.values() for name in names}), default=RiskLevel.LOW)
        now = utc_now()
        approval = ApprovalRequest(
            id=new_id(),
            project_id=task.key.project_id,
            session_id=task.session_id,
            run_id=task.run_id,
            task_id=task.id,
            tool_call_id=None,
            type=ApprovalType.PLAN,
            status=ApprovalStatus.PENDING,
            payload=_payload(view, tools, risk, reasons),
            digest=plan_digest(view),
            created_at=now,
            timeout=self._timeout,
            expires_at=now + timedelta(seconds=self._timeout),
        )
        session.add(approval)
        session.flush()
        APPROVALS_ASKED.labels(ApprovalType.PLAN.value, risk.value).inc()
        return approval

    def verdict(self, session: Session, task_id: UUID) -> Approved | Declined | None:
        """Return what came of asking about the plan that a task made; `None` while nobody was asked or has answered."""
        approval = _asked(session, task_id)
        if approval is None:
            return None
        match approval.status:
            case ApprovalStatus.PENDING:
                return None
            case ApprovalStatus.APPROVED:
                return _approved(approval)
            case ApprovalStatus.REJECTED:
                said = f" They say: {approval.reason}" if approval.reason else ""
                return Declined(PlanRejected(f"The owner does not want the plan.{said}"))
            case ApprovalStatus.EXPIRED:
                return Declined(PlanNotAnswered())
            case ApprovalStatus.CANCELLED:
                return Declined(Cancelled())
            case _:
                assert_never(approval.status)


def events(approval: ApprovalRequest) -> tuple[Payload, ...]:
    """Return the events that ask."""
    plan = PlanView.model_validate(approval.payload["plan"])
    asked = PlanRequest(approval_id=approval.id, plan=plan, reasons=tuple(approval.payload["reasons"]))
    return asked, required(approval)


def plan_digest(view: PlanView) -> str:
    """Return what an approval is bound to: the whole plan, to the letter."""
    return digest(ApprovalType.PLAN.value, view.model_dump(mode="json"))


def _asked(session: Session, task_id: UUID) -> ApprovalRequest | None:
    return session.scalars(
        select(ApprovalRequest).where(ApprovalRequest.task_id == task_id, ApprovalRequest.type == ApprovalType.PLAN)
    ).one_or_none()


def _approved(approval: ApprovalRequest) -> Approved | Declined:
    asked = PlanView.model_validate(approval.payload["plan"])
    if plan_digest(asked) != approval.digest:
        return Declined(InternalFailure("The plan is not the one that was approved, so it was not carried out."))
    return Approved(PlanView.model_validate(approval.answer["plan"]) if approval.answer else asked)


def _payload(view: PlanView, tools: Tools, risk: RiskLevel, reasons: Sequence[str]) -> Json:
    """Return what the owner is shown; it has the fields of a tool call's, too."""
    plan = view.model_dump(mode="json")
    return {
        "plan": plan,
        "tools": {name: list(names) for name, names in tools.items()},
        "tool": None,
        "arguments": {
            "tasks": len(view.tasks),
            "estimated_cost": plan["estimated_cost"],
            "estimated_duration": plan["estimated_duration"]["parallel"],
        },
        "risk": risk.value,
        "reasons": list(reasons),
        "agent_id": None,
        "agent_name": ORCHESTRATOR,
        "ask": 1,
    }


def _tools_of(session: Session, view: PlanView) -> Tools:
    rows = session.execute(
        select(UserAgent.name, UserAgent.config).where(UserAgent.id.in_({task.agent_id for task in view.tasks}))
    ).all()
    return {
        name: sorted(AgentConfig.model_validate(config).tools) for name, config in sorted(rows, key=lambda row: row[0])
    }


def _complexity(config: OrchestratorConfig, view: PlanView, tools: Tools) -> Iterator[str]:
    if len(view.tasks) > MANY_TASKS:
        yield f"The plan has {len(view.tasks)} tasks."
    for name in dict.fromkeys(task.agent_name for task in view.tasks):
        risky = [tool for tool in tools.get(name, ()) if highest_risk(tool) is RiskLevel.HIGH]
        if risky:
            yield f"Agent {name} may use {', '.join(sorted(risky))}, which can be of high risk."
    yield from _expense(config.cost_limit_usd, view)


def _expense(limit: Decimal | None, view: PlanView) -> Iterator[str]:
    if limit is None:
        return
    if view.estimated_cost is None:
        yield f"What the plan costs is not known, and the limit is {limit} US dollars."
    elif Decimal(str(view.estimated_cost.p90)) > limit:
        yield f"The plan may cost {view.estimated_cost.p90:.4g} US dollars, over the limit of {limit}."
