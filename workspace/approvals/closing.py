"""When a task ends before its answer, what it asked for is closed with it: open approvals and open tool calls."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, literal, select, update
from sqlalchemy.orm import Session

from models import ApprovalRequest, ToolCall, utc_now
from models.statuses import ApprovalStatus, ApprovalType, ToolCallStatus, ToolExecution
from workspace.events import ApprovalResolved
from workspace.metrics import APPROVALS_RESOLVED
from workspace.tools.errors import ToolErrorCode
from workspace.tools.results import ToolResult

_STOPPED = ToolResult.failure(ToolErrorCode.CANCELLED, "The task ended before this was done.")
_CUT_OFF = ToolResult.failure(ToolErrorCode.OUTCOME_UNKNOWN, "The task ended in the middle of this.")
_CUT = (ToolCall.status == ToolCallStatus.RUNNING) & (ToolCall.execution == ToolExecution.SERVER)


_ASKED: Final = (ToolCall, ApprovalRequest)
"""What a task may have open. A plan is approved without any tool."""


class ClosedApproval(NamedTuple):
    """An approval that is open no more because nobody needs it; it has to be told of."""

    id: UUID
    type: ApprovalType
    session_id: UUID
    run_id: UUID
    task_id: UUID | None
    tool_call_id: UUID | None

    def event(self) -> ApprovalResolved:
        """Return what its session is told."""
        APPROVALS_RESOLVED.labels(self.type.value, ApprovalStatus.CANCELLED.value).inc()
        return ApprovalResolved(
            approval_id=self.id,
            type=self.type,
            status=ApprovalStatus.CANCELLED,
            decision=None,
            reason=None,
            tool_call_id=self.tool_call_id,
        )


def close_tasks(session: Session, tasks: Sequence[UUID]) -> list[ClosedApproval]:
    """Close what tasks that end here have open, in the caller's transaction, which holds their locks."""
    now = utc_now()
    if not any(session.scalar(select(kind.id).where(kind.task_id.in_(tasks)).limit(1)) for kind in _ASKED):
        return []
    session.execute(
        update(ToolCall)
        .where(ToolCall.task_id.in_(tasks), ToolCall.status.in_(ToolCallStatus.active()))
        .values(
            status=case((_CUT, _as(ToolCall.status, _CUT_OFF.status)), else_=_as(ToolCall.status, _STOPPED.status)),
            result=case((_CUT, _as(ToolCall.result, _CUT_OFF.body)), else_=_as(ToolCall.result, _STOPPED.body)),
            finished_at=now,
        )
        .execution_options(synchronize_session=False)
    )
    return _close(session, ApprovalRequest.task_id.in_(tasks))


def _as(column: Any, value: object) -> ColumnElement[Any]:
    """Return a value that is written as its column's are: within a CASE nothing else tells its type."""
    return literal(value, column.type)


def _close(session: Session, *where: Any) -> list[ClosedApproval]:
    rows = session.execute(
        update(ApprovalRequest)
        .where(ApprovalRequest.status == ApprovalStatus.PENDING, *where)
        .values(status=ApprovalStatus.CANCELLED, resolved_at=utc_now())
        .returning(
            ApprovalRequest.id,
            ApprovalRequest.type,
            ApprovalRequest.session_id,
            ApprovalRequest.run_id,
            ApprovalRequest.task_id,
            ApprovalRequest.tool_call_id,
        )
        .execution_options(synchronize_session=False)
    ).all()
    return [ClosedApproval._make(row) for row in rows]
