"""Deciding an approval: once, by its owner, before its deadline, each in one transaction.

The task is locked first, as by everybody who changes what a task has open; of fifty decisions at once the first one
counts, and the others find it decided.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import ApprovalGrant, ApprovalRequest, Json, ToolCall, utc_now
from models.statuses import ApprovalStatus, ApprovalType, Decision, ToolCallStatus
from models.tenancy import Database
from workspace.approvals.grants import Grants, Remember
from workspace.errors import ApprovalAlreadyDecided, ApprovalExpired, InvalidInput, NotFound
from workspace.names import WorkspaceKey
from workspace.resuming import Resumed, lock_task, resume_if_ready
from workspace.tools.errors import ToolErrorCode
from workspace.tools.results import ToolResult

_SILENCE = ToolResult.failure(
    ToolErrorCode.APPROVAL_EXPIRED, "Your user did not answer in time. Go on without it, or ask again if it matters."
)


class Decided(NamedTuple):
    """What a decision changed."""

    approval: ApprovalRequest
    call: ToolCall | None
    resumed: Resumed | None
    grant: ApprovalGrant | None = None


OnYes = Callable[[Session, ApprovalRequest], Json]
"""Writes, in the transaction that decides, what comes with the yes to a plan; returns it as the approval keeps it."""


class Decisions:
    """Moves approvals to their end."""

    def __init__(self, database: Database, grants: Grants) -> None:
        self._database = database
        self._grants = grants

    def decide(
        self,
        key: WorkspaceKey,
        approval_id: UUID,
        decision: Decision,
        *,
        reason: str | None = None,
        remember: Remember | None = None,
        on_yes: OnYes | None = None,
    ) -> Decided:
        """Write the owner's answer.

        Args:
            remember: of a yes to a tool call.
            on_yes: of a yes to a plan.

        Raises:
            NotFound: no such approval in the project.
            ApprovalAlreadyDecided: it is not open any more.
            ApprovalExpired: its time is over.
            InvalidInput: what is to be remembered makes no sense, or came with the wrong kind of question.
        """
        with self._database.tenant_session(key.user_id) as session:
            approval = _lock(session, key, approval_id)
            if approval.status is ApprovalStatus.EXPIRED or _is_late(approval):
                raise ApprovalExpired
            if approval.status is not ApprovalStatus.PENDING:
                raise ApprovalAlreadyDecided
            _check_kind(approval, remember=remember is not None, changes=on_yes is not None)
            approved = decision is Decision.APPROVE
            approval.answer = on_yes(session, approval) if on_yes and approved else None
            grant = self._grants.make(session, approval, remember) if remember and approved else None
            approval.status = ApprovalStatus.APPROVED if approved else ApprovalStatus.REJECTED
            approval.decision = decision
            approval.reason = reason
            result = None if approved else _refusal(reason)
            decided = _finish(session, approval, result)
            session.commit()
        return decided._replace(grant=grant)

    def expire(self, key: WorkspaceKey, approval_id: UUID) -> Decided | None:
        """Decline an approval whose time is over; `None` if it was decided or extended meanwhile, or is gone."""
        with self._database.tenant_session(key.user_id) as session:
            try:
                approval = _lock(session, key, approval_id)
            except NotFound:
                return None
            if approval.status is not ApprovalStatus.PENDING or not _is_late(approval):
                return None
            approval.status = ApprovalStatus.EXPIRED
            decided = _finish(session, approval, _SILENCE)
            session.commit()
        return decided

    def mark_warned(self, key: WorkspaceKey, approval_id: UUID) -> ApprovalRequest | None:
        """Write down that the owner was warned; `None` if that was done, or is not due for it any more."""
        with self._database.tenant_session(key.user_id) as session:
            approval = session.scalars(
                select(ApprovalRequest)
                .where(
                    ApprovalRequest.id == approval_id,
                    ApprovalRequest.status == ApprovalStatus.PENDING,
                    ApprovalRequest.warned_at.is_(None),
                )
                .with_for_update(key_share=True)
            ).one_or_none()
            if approval is None:
                return None
            approval.warned_at = utc_now()
            session.commit()
        return approval

    def extend(self, key: WorkspaceKey, approval_id: UUID, seconds: int, *, longest: float) -> ApprovalRequest:
        """Give the owner more time.

        Args:
            seconds: to add.
            longest: seconds from the question on that nothing may be extended beyond.

        Raises:
            NotFound: no such approval in the project.
            ApprovalAlreadyDecided: it is not open any more.
            ApprovalExpired: its time is over.
        """
        with self._database.tenant_session(key.user_id) as session:
            approval = _lock(session, key, approval_id)
            if approval.status is ApprovalStatus.EXPIRED or _is_late(approval):
                raise ApprovalExpired
            if approval.status is not ApprovalStatus.PENDING:
                raise ApprovalAlreadyDecided
            # Never shorter than it was: the limit may have been lowered since.
            approval.timeout = max(min(approval.timeout + seconds, int(longest)), approval.timeout)
            approval.expires_at = approval.created_at + timedelta(seconds=approval.timeout)
            approval.warned_at = None
            session.commit()
        return approval


def _lock(session: Session, key: WorkspaceKey, approval_id: UUID) -> ApprovalRequest:
    """Lock an approval's task, then the approval.

    Raises:
        NotFound: there is none.
    """
    here = ApprovalRequest.id == approval_id, ApprovalRequest.project_id == key.project_id
    found = session.execute(select(ApprovalRequest.task_id).where(*here)).one_or_none()
    if found is None:
        raise NotFound
    if found[0] is not None:
        lock_task(session, found[0])
    approval = session.scalars(select(ApprovalRequest).where(*here).with_for_update(key_share=True)).one_or_none()
    if approval is None:
        raise NotFound
    return approval


def _check_kind(approval: ApprovalRequest, *, remember: bool, changes: bool) -> None:
    """Refuse what comes with an answer and belongs to another kind of question.

    Raises:
        InvalidInput: it does.
    """
    if remember and approval.type is ApprovalType.PLAN:
        raise InvalidInput("There is nothing to `remember` of a plan: what its tools may do is said by `grants`.")
    if changes and approval.type is not ApprovalType.PLAN:
        raise InvalidInput("`edits` and `grants` are for plans, and a tool call is asked for here.")


def _is_late(approval: ApprovalRequest) -> bool:
    return approval.status is ApprovalStatus.PENDING and approval.expires_at <= utc_now()


def _refusal(reason: str | None) -> ToolResult:
    said = f" They say: {reason}" if reason else ""
    return ToolResult.failure(ToolErrorCode.REJECTED, f"Your user does not want this.{said}")


def _finish(session: Session, approval: ApprovalRequest, result: ToolResult | None) -> Decided:
    """Move the call of an approval on, and its task if it waited for nothing else.

    Args:
        result: what the model is told instead of the tool's own result; `None`: the tool may run.
    """
    approval.resolved_at = utc_now()
    call = None
    if approval.tool_call_id is not None:
        call = session.scalars(
            select(ToolCall).where(
                ToolCall.id == approval.tool_call_id, ToolCall.status == ToolCallStatus.AWAITING_APPROVAL
            )
        ).one_or_none()
    if call is not None:
        call.status = ToolCallStatus.REQUESTED if result is None else result.status
        if result is not None:
            call.result, call.finished_at = result.body, approval.resolved_at
    session.flush()
    task = lock_task(session, approval.task_id) if approval.task_id is not None else None
    return Decided(approval, call, resume_if_ready(session, task))
