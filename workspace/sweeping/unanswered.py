"""Questions to people and to their programs whose time is over, or nearly so."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select

from models import ApprovalRequest, ToolCall, utc_now
from models.statuses import ApprovalStatus, ToolCallStatus
from models.tenancy import Database
from workspace.approvals.manager import ApprovalManager
from workspace.names import WorkspaceKey
from workspace.sweeping.sweeper import BATCH
from workspace.tools.client_calls import ToolCalls


class Unanswered:
    """Finds them; what becomes of each is decided under its own locks."""

    def __init__(self, database: Database, approvals: ApprovalManager, calls: ToolCalls, *, warning: float) -> None:
        """Take what it needs.

        Args:
            warning: seconds before its end that the owner of an approval is warned.
        """
        self._database = database
        self._approvals = approvals
        self._calls = calls
        self._warning = timedelta(seconds=warning)

    def decline(self) -> int:
        """Decline approvals that nobody answered in time."""
        return sum(self._approvals.expire(*due) for due in self._approvals_due(ApprovalRequest.expires_at <= utc_now()))

    def warn(self) -> int:
        """Tell of approvals that have little time left; where the whole time is short, of its second half."""
        now = utc_now()
        half = func.make_interval(0, 0, 0, 0, 0, 0, ApprovalRequest.timeout / 2.0)
        soon = and_(
            ApprovalRequest.warned_at.is_(None),
            ApprovalRequest.expires_at > now,
            ApprovalRequest.expires_at <= now + self._warning,
            ApprovalRequest.expires_at <= now + half,
        )
        return sum(self._approvals.warn(*due) for due in self._approvals_due(soon))

    def give_up(self) -> int:
        """End tool calls that no client answered in time."""
        late = and_(ToolCall.status == ToolCallStatus.RUNNING, ToolCall.expires_at <= utc_now())
        return sum(self._calls.expire(*due) for due in self._due(ToolCall, late))

    def _approvals_due(self, when: ColumnElement[bool]) -> list[tuple[WorkspaceKey, UUID]]:
        return self._due(ApprovalRequest, and_(ApprovalRequest.status == ApprovalStatus.PENDING, when))

    def _due(self, kind: type[Any], when: ColumnElement[bool]) -> list[tuple[WorkspaceKey, UUID]]:
        with self._database.system_session("questions with a deadline") as session:
            rows = session.execute(
                select(kind.id, kind.user_id, kind.project_id).where(when).order_by(kind.expires_at).limit(BATCH)
            ).all()
        return [(WorkspaceKey(row[1], row[2]), row[0]) for row in rows]
