"""`ApprovalManager`: everything that is asked of a person. It decides, tells the stream, and lets the task go on."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from models import ApprovalRequest, utc_now
from models.statuses import ApprovalStatus, ApprovalType, Decision
from models.tenancy import Database
from settings import Settings
from workspace.approvals.decisions import Decided, Decisions, OnYes
from workspace.approvals.grants import Grant, Grants, GrantScope, Remember
from workspace.approvals.history import ApprovalFilter, ApprovalHistory
from workspace.errors import ApprovalExpired, CodelabError, RequestError
from workspace.event_publisher import EventPublisher
from workspace.events import ApprovalExpiring, ApprovalExtended, ApprovalResolved, EventScope, Payload
from workspace.metrics import APPROVAL_SECONDS, APPROVALS_RESOLVED
from workspace.names import WorkspaceKey
from workspace.paging import PageRequest
from workspace.resuming import Resumption
from workspace.tools.client_calls import result_event
from workspace.tools.risk import RiskLevel

log = structlog.get_logger("audit.approvals")

MOST_COVERED = 100
"""Open approvals that a new grant answers at once."""


class BatchOutcome(NamedTuple):
    """What came of one approval of a batch."""

    id: UUID
    approval: ApprovalRequest | None
    error: CodelabError | None


class ApprovalManager:
    """Answers, deadlines, grants and the history, within one tenant at a time."""

    def __init__(
        self, database: Database, publisher: EventPublisher, resumption: Resumption, grants: Grants, settings: Settings
    ) -> None:
        self.grants = grants
        self.history = ApprovalHistory(database)
        self._publisher = publisher
        self._resumption = resumption
        self._decisions = Decisions(database, grants)
        self._settings = settings

    # -- answering -------------------------------------------------------------------------------------------

    def confirm(
        self,
        key: WorkspaceKey,
        approval_id: UUID,
        decision: Decision,
        *,
        reason: str | None = None,
        remember: Remember | None = None,
        on_yes: OnYes | None = None,
    ) -> ApprovalRequest:
        """Take the owner's answer; the task goes on with it.

        Args:
            remember: of a yes to a tool call.
            on_yes: of a yes to a plan: writes what comes with it, in the transaction that decides.

        Raises:
            NotFound: no such approval in the project.
            ApprovalAlreadyDecided: it is not open any more.
            ApprovalExpired: its time is over.
            InvalidInput: what is to be remembered makes no sense, or came with the wrong kind of question.
        """
        try:
            decided = self._decisions.decide(
                key, approval_id, decision, reason=reason, remember=remember, on_yes=on_yes
            )
        except ApprovalExpired:
            self.expire(key, approval_id)
            raise
        approval = decided.approval
        assert approval.resolved_at is not None
        APPROVAL_SECONDS.labels(approval.type.value).observe(
            (approval.resolved_at - approval.created_at).total_seconds()
        )
        self._carry_out(key, decided)
        if decided.grant is not None:
            grant = Grant(decided.grant.id, decided.grant.tool, decided.grant.patterns, RiskLevel(decided.grant.risk))
            self._answer_covered(key, approval, grant, remember.scope if remember else GrantScope.RUN)
        return approval

    def confirm_batch(
        self, key: WorkspaceKey, ids: Sequence[UUID], decision: Decision, reason: str | None
    ) -> list[BatchOutcome]:
        """Give the same answer to several approvals; each stands for itself."""
        outcomes = []
        for approval_id in dict.fromkeys(ids):
            try:
                approval = self.confirm(key, approval_id, decision, reason=reason)
            except RequestError as error:
                outcomes.append(BatchOutcome(approval_id, None, error))
            else:
                outcomes.append(BatchOutcome(approval_id, approval, None))
        return outcomes

    def extend(self, key: WorkspaceKey, approval_id: UUID, seconds: int | None) -> ApprovalRequest:
        """Give the owner more time: by default as much again as there is in all.

        Raises:
            NotFound: no such approval in the project.
            ApprovalAlreadyDecided: it is not open any more.
            ApprovalExpired: its time is over.
        """
        if seconds is None:
            seconds = self.history.get(key, approval_id).timeout
        try:
            approval = self._decisions.extend(key, approval_id, seconds, longest=self._settings.run_max_age)
        except ApprovalExpired:
            self.expire(key, approval_id)
            raise
        told = ApprovalExtended(approval_id=approval.id, expires_at=approval.expires_at, timeout=approval.timeout)
        self._publisher.publish(_scope(approval), told)
        return approval

    # -- deadlines, kept by the sweeper ----------------------------------------------------------------------

    def expire(self, key: WorkspaceKey, approval_id: UUID) -> bool:
        """Decline what nobody answered in time; returns whether this call did."""
        decided = self._decisions.expire(key, approval_id)
        if decided is None:
            return False
        self._carry_out(key, decided)
        return True

    def warn(self, key: WorkspaceKey, approval_id: UUID) -> bool:
        """Tell once of an approval that has little time left; returns whether this call did."""
        approval = self._decisions.mark_warned(key, approval_id)
        if approval is None:
            return False
        left = max((approval.expires_at - utc_now()).total_seconds(), 0.0)
        told = ApprovalExpiring(approval_id=approval.id, expires_at=approval.expires_at, seconds_left=round(left, 1))
        self._publisher.publish(_scope(approval), told)
        return True

    # -- what follows a decision -----------------------------------------------------------------------------

    def _answer_covered(self, key: WorkspaceKey, approval: ApprovalRequest, grant: Grant, scope: GrantScope) -> None:
        """Say yes to what is open already and the new grant covers: its owner just did."""
        wanted = ApprovalFilter(
            status=ApprovalStatus.PENDING,
            type=ApprovalType.TOOL,
            session_id=None if scope is GrantScope.PROJECT else approval.session_id,
            run_id=approval.run_id if scope is GrantScope.RUN else None,
        )
        covered: Callable[[Any], bool] = lambda payload: grant.covers(  # noqa: E731
            payload["tool"], payload["arguments"], RiskLevel(payload["risk"])
        )
        for other in self.history.page(key, PageRequest(limit=MOST_COVERED), wanted).items:
            if covered(other.payload):
                try:
                    self.confirm(key, other.id, Decision.APPROVE, reason="covered by what was just remembered")
                except RequestError as error:
                    log.info("approval_not_covered", approval_id=str(other.id), reason=error.code.value)

    def _carry_out(self, key: WorkspaceKey, decided: Decided) -> None:
        approval = decided.approval
        APPROVALS_RESOLVED.labels(approval.type.value, approval.status.value).inc()
        log.info(
            "approval_resolved",
            user_id=str(key.user_id),
            project_id=str(key.project_id),
            approval_id=str(approval.id),
            run_id=str(approval.run_id),
            status=approval.status.value,
        )
        events: list[Payload] = [resolved(approval)]
        if decided.call is not None and decided.call.result is not None:
            events.append(result_event(decided.call))
        self._publisher.publish(_scope(approval), *events)
        self._resumption.send(decided.resumed)


def resolved(approval: ApprovalRequest) -> ApprovalResolved:
    """Return the event that tells of an approval's end."""
    return ApprovalResolved(
        approval_id=approval.id,
        type=approval.type,
        status=approval.status,
        decision=approval.decision,
        reason=approval.reason,
        tool_call_id=approval.tool_call_id,
    )


def _scope(approval: ApprovalRequest) -> EventScope:
    return EventScope(
        key=WorkspaceKey(approval.user_id, approval.project_id),
        session_id=approval.session_id,
        run_id=approval.run_id,
        task_id=approval.task_id,
    )
