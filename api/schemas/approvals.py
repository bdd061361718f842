"""Approvals and grants over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field

from api.schemas.common import PageQuery, RequestModel, ResponseModel, Text
from models import ApprovalGrant, ApprovalRequest
from models.statuses import ApprovalStatus, ApprovalType, Decision
from orchestrator.plan_answers import MOST_GRANTS, PlanAnswer
from orchestrator.plans.edits import PlanEdits
from workspace.approvals.advance import WantedGrant
from workspace.approvals.grants import GrantScope, Remember
from workspace.approvals.history import ApprovalFilter, ApprovalMetrics, shown_status
from workspace.approvals.manager import BatchOutcome
from workspace.errors import ErrorCode, InvalidInput
from workspace.tools.risk import RiskLevel

DAY = 86_400
MOST_IDS = 100

Reason = Annotated[Text, Field(min_length=1, max_length=2_000)]


class ApprovalQuery(PageQuery):
    """Which approvals are wanted."""

    status: ApprovalStatus | None = None
    type: ApprovalType | None = None
    session_id: UUID | None = None
    run_id: UUID | None = None

    def filter(self) -> ApprovalFilter:
        """Return it as the store takes it."""
        return ApprovalFilter(status=self.status, type=self.type, session_id=self.session_id, run_id=self.run_id)


class RememberRequest(RequestModel):
    """A yes that is to count for a class of calls, too."""

    scope: GrantScope = Field(GrantScope.RUN, description="where it counts")
    patterns: dict[str, Any] | None = Field(
        None,
        description='by argument, such as `{"path": "src/**"}`; null: exactly what is asked for, whatever is written',
    )
    seconds: int = Field(DAY, ge=1, le=30 * DAY, description="how long it counts")

    def remember(self) -> Remember:
        """Return it as the manager takes it."""
        return Remember(self.scope, self.patterns, self.seconds)


class GrantRequest(RequestModel):
    """A standing yes that is given with the yes to a plan, for its run."""

    tool: Annotated[Text, Field(min_length=1, max_length=64)]
    patterns: dict[str, Any] = Field(description='by argument, such as `{"path": "src/**"}`')
    risk: RiskLevel | None = Field(
        None, description="the most that a call may risk to be covered; null: the most that the tool can"
    )

    def wanted(self) -> WantedGrant:
        """Return it as the core takes it."""
        return WantedGrant(self.tool, self.patterns, self.risk)


class ConfirmRequest(RequestModel):
    """The owner's answer."""

    decision: Decision
    reason: Reason | None = Field(None, description="the agent is told")
    remember: RememberRequest | None = Field(None, description="only with `approve`, and of a tool call")
    edits: PlanEdits | None = Field(None, description="only with `approve`, and of a plan")
    grants: list[GrantRequest] | None = Field(
        None, max_length=MOST_GRANTS, description="only with `approve`, and of a plan"
    )

    def plan_answer(self) -> PlanAnswer | None:
        """Return what comes with the yes to a plan, if anything does.

        Raises:
            InvalidInput: it came with a no, or with what belongs to a tool call.
        """
        if self.edits is None and self.grants is None:
            return None
        if self.remember is not None:
            raise InvalidInput("`edits` and `grants` are for plans, and `remember` is for tool calls.")
        if self.decision is not Decision.APPROVE:
            raise InvalidInput("`edits` and `grants` come with `approve` only.")
        return PlanAnswer(edits=self.edits or PlanEdits(), grants=tuple(each.wanted() for each in self.grants or ()))


class ExtendRequest(RequestModel):
    """More time for an answer."""

    seconds: int | None = Field(None, ge=1, le=DAY, description="to add; null: as many again as there are in all")


class BatchRequest(RequestModel):
    """The same answer to several approvals."""

    ids: list[UUID] = Field(min_length=1, max_length=MOST_IDS)
    decision: Decision
    reason: Reason | None = None


class ApprovalResponse(ResponseModel):
    """A question to the owner, open or answered."""

    id: UUID
    type: ApprovalType
    status: ApprovalStatus
    payload: dict[str, Any] = Field(
        description="`tool, arguments, risk, reasons, agent_id, agent_name, ask`; of a plan, whose `tool` is null, "
        "also the `plan` and the `tools` of its agents"
    )
    answer: dict[str, Any] | None = Field(
        description="what came with the yes to a plan: the `plan` after its `edits`, the `grants`, and `bereft`: tasks "
        "that have to do without the result of one that was dropped"
    )
    timeout: int = Field(description="seconds from `created_at` to `expires_at`")
    expires_at: datetime
    created_at: datetime
    resolved_at: datetime | None
    decision: Decision | None
    reason: str | None
    session_id: UUID
    run_id: UUID
    task_id: UUID | None
    tool_call_id: UUID | None

    @classmethod
    def of(cls, approval: ApprovalRequest) -> Self:
        """Return the response for a row."""
        response = cls.model_validate(approval, from_attributes=True)
        return response.model_copy(update={"status": shown_status(approval)})


class BatchItem(ResponseModel):
    """What came of one approval of a batch."""

    id: UUID
    status: ApprovalStatus | None = Field(description="null where the answer was not taken")
    error_code: ErrorCode | None
    detail: str | None

    @classmethod
    def of(cls, outcome: BatchOutcome) -> Self:
        """Return the response for an outcome."""
        status = outcome.approval.status if outcome.approval is not None else None
        error = outcome.error
        return cls(
            id=outcome.id,
            status=status,
            error_code=error.code if error else None,
            detail=error.detail if error else None,
        )


class BatchResponse(ResponseModel):
    """What came of each, in the order in which they were given."""

    items: list[BatchItem]


class ApprovalMetricsResponse(ResponseModel):
    """How approvals went; null where nothing can be said yet."""

    total: int
    by_status: dict[ApprovalStatus, int]
    approval_rate: float | None = Field(description="of those that were answered or ran out of time")
    timeout_rate: float | None
    response_seconds_mean: float | None = Field(description="of those that were answered")
    response_seconds_p50: float | None
    response_seconds_p95: float | None

    @classmethod
    def of(cls, metrics: ApprovalMetrics) -> Self:
        """Return the response for what was counted."""
        return cls(**metrics._asdict())


class GrantResponse(ResponseModel):
    """A standing yes."""

    id: UUID
    tool: str
    patterns: dict[str, Any]
    risk: str = Field(description="the most that a call may risk to be covered")
    session_id: UUID | None = Field(description="null: it counts in the whole project")
    run_id: UUID | None = Field(description="null: it counts in every run of its session or project")
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, grant: ApprovalGrant) -> Self:
        """Return the response for a row."""
        return cls.model_validate(grant, from_attributes=True)
