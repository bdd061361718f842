"""Requests for the user's yes or no, and the grants that answer a class of them in advance."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import (
    Base,
    Json,
    TenantOwned,
    WithCreated,
    WithId,
    belongs_to,
    status_check,
    status_column,
    tenant_key,
)
from models.statuses import ApprovalStatus, ApprovalType, Decision


class ApprovalRequest(Base, WithId, WithCreated, TenantOwned):
    """One question to the owner: single-use, with a deadline, bound to the digest of what was asked."""

    __tablename__ = "approval_requests"
    __table_args__ = (
        tenant_key("approval_requests"),
        belongs_to("projects", "project_id"),
        belongs_to("chat_sessions", "session_id", "project_id"),
        belongs_to("runs", "run_id", "session_id", "project_id"),
        belongs_to("tasks", "task_id"),
        belongs_to("tool_calls", "tool_call_id"),
        status_check("type", ApprovalType),
        status_check("status", ApprovalStatus),
        Index("ix_approval_requests_user_id", "user_id", "id"),
        Index("ix_approval_requests_run_id", "run_id", "digest"),
        Index("ix_approval_requests_tool_call_id", "tool_call_id"),
        Index("ix_approval_requests_task_id", "task_id"),
        # A run has one plan, and its owner is asked once.
        Index("uq_approval_requests_plan", "run_id", unique=True, postgresql_where=text("type = 'plan'")),
        Index("ix_approval_requests_pending", "expires_at", postgresql_where=text("status = 'pending'")),
    )

    project_id: Mapped[UUID] = mapped_column()
    session_id: Mapped[UUID] = mapped_column()
    run_id: Mapped[UUID] = mapped_column()
    task_id: Mapped[UUID | None] = mapped_column()
    tool_call_id: Mapped[UUID | None] = mapped_column()
    type: Mapped[ApprovalType] = mapped_column(status_column(ApprovalType, "approval_type"))
    payload: Mapped[Json] = mapped_column()
    digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[ApprovalStatus] = mapped_column(
        status_column(ApprovalStatus, "approval_status"), default=ApprovalStatus.PENDING
    )
    decision: Mapped[Decision | None] = mapped_column(status_column(Decision, "approval_decision"))
    reason: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[Json | None] = mapped_column()
    """What came with the yes to a plan: `{edits, grants}`."""
    timeout: Mapped[int] = mapped_column(Integer)
    """Seconds from `created_at` to `expires_at`; each extension adds to both."""
    expires_at: Mapped[datetime] = mapped_column()
    warned_at: Mapped[datetime | None] = mapped_column()
    resolved_at: Mapped[datetime | None] = mapped_column()


class ApprovalGrant(Base, WithId, WithCreated, TenantOwned):
    """A standing yes: this tool, these argument patterns, within this run, session or project, until its end."""

    __tablename__ = "approval_grants"
    __table_args__ = (
        tenant_key("approval_grants"),
        belongs_to("projects", "project_id"),
        belongs_to("chat_sessions", "session_id", "project_id"),
        belongs_to("runs", "run_id", "session_id", "project_id"),
        # A foreign key with a null in it is not checked.
        CheckConstraint("run_id IS NULL OR session_id IS NOT NULL", name="run_has_session"),
        Index("ix_approval_grants_user_id_project_id", "user_id", "project_id", "tool"),
    )

    project_id: Mapped[UUID] = mapped_column()
    session_id: Mapped[UUID | None] = mapped_column()
    run_id: Mapped[UUID | None] = mapped_column()
    tool: Mapped[str] = mapped_column(String(64))
    patterns: Mapped[Json] = mapped_column(default=dict)
    risk: Mapped[str] = mapped_column(String(16))
    """The most that a call may risk to be covered: that of the call that it was made for."""
    expires_at: Mapped[datetime] = mapped_column()
    revoked_at: Mapped[datetime | None] = mapped_column()
