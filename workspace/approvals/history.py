"""Approvals as their owner reads them: those that are open, those that are not, and how it went so far."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select

from models import ApprovalRequest, utc_now
from models.statuses import ApprovalStatus, ApprovalType
from models.tenancy import Database
from workspace.errors import NotFound
from workspace.names import WorkspaceKey
from workspace.paging import Page, PageRequest, fetch_page


@dataclass(frozen=True, kw_only=True)
class ApprovalFilter:
    """Which approvals are wanted; `None`: any."""

    status: ApprovalStatus | None = None
    type: ApprovalType | None = None
    session_id: UUID | None = None
    run_id: UUID | None = None


class ApprovalMetrics(NamedTuple):
    """How the approvals of a project went; `None` where nothing can be said yet."""

    total: int
    by_status: dict[ApprovalStatus, int]
    approval_rate: float | None
    """Of those that were answered or ran out of time."""
    timeout_rate: float | None
    response_seconds_mean: float | None
    """Of those that were answered."""
    response_seconds_p50: float | None
    response_seconds_p95: float | None


class ApprovalHistory:
    """Reads approvals, within one tenant at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: WorkspaceKey, approval_id: UUID) -> ApprovalRequest:
        """Return one approval.

        Raises:
            NotFound: no such approval in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            approval = session.scalars(
                select(ApprovalRequest).where(
                    ApprovalRequest.id == approval_id, ApprovalRequest.project_id == key.project_id
                )
            ).one_or_none()
        if approval is None:
            raise NotFound
        return approval

    def page(self, key: WorkspaceKey, request: PageRequest, wanted: ApprovalFilter) -> Page[ApprovalRequest]:
        """Return a page of a project's approvals."""
        query = select(ApprovalRequest).where(ApprovalRequest.project_id == key.project_id)
        if wanted.status is not None:
            query = query.where(_shown_as(wanted.status))
        for column, value in (
            (ApprovalRequest.type, wanted.type),
            (ApprovalRequest.session_id, wanted.session_id),
            (ApprovalRequest.run_id, wanted.run_id),
        ):
            if value is not None:
                query = query.where(column == value)
        with self._database.tenant_session(key.user_id) as session:
            return fetch_page(session, query, ApprovalRequest, request)

    def metrics(self, key: WorkspaceKey) -> ApprovalMetrics:
        """Return how a project's approvals went so far."""
        here = ApprovalRequest.project_id == key.project_id
        seconds = func.extract("epoch", ApprovalRequest.resolved_at - ApprovalRequest.created_at)
        with self._database.tenant_session(key.user_id) as session:
            counts = {
                status: session.scalar(select(func.count(ApprovalRequest.id)).where(here, _shown_as(status))) or 0
                for status in ApprovalStatus
            }
            mean, half, most = session.execute(
                select(
                    func.avg(seconds),
                    func.percentile_cont(0.5).within_group(seconds),
                    func.percentile_cont(0.95).within_group(seconds),
                ).where(here, ApprovalRequest.decision.is_not(None))
            ).one()
        asked = sum(counts[each] for each in (ApprovalStatus.APPROVED, ApprovalStatus.REJECTED, ApprovalStatus.EXPIRED))
        return ApprovalMetrics(
            total=sum(counts.values()),
            by_status=counts,
            approval_rate=counts[ApprovalStatus.APPROVED] / asked if asked else None,
            timeout_rate=counts[ApprovalStatus.EXPIRED] / asked if asked else None,
            response_seconds_mean=_rounded(mean),
            response_seconds_p50=_rounded(half),
            response_seconds_p95=_rounded(most),
        )


def shown_status(approval: ApprovalRequest) -> ApprovalStatus:
    """Return an approval's status at this moment: its deadline counts before the sweeper has seen it."""
    if approval.status is ApprovalStatus.PENDING and approval.expires_at <= utc_now():
        return ApprovalStatus.EXPIRED
    return approval.status


def _shown_as(status: ApprovalStatus) -> ColumnElement[bool]:
    now = utc_now()
    match status:
        case ApprovalStatus.PENDING:
            return and_(ApprovalRequest.status == status, ApprovalRequest.expires_at > now)
        case ApprovalStatus.EXPIRED:
            late = and_(ApprovalRequest.status == ApprovalStatus.PENDING, ApprovalRequest.expires_at <= now)
            return or_(ApprovalRequest.status == status, late)
        case _:
            return ApprovalRequest.status == status


def _rounded(seconds: object) -> float | None:
    return round(float(str(seconds)), 3) if seconds is not None else None
