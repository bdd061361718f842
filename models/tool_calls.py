"""What a task said and did before its answer: its turns, and the ledger of the tools that it called."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, Integer, String, Text, UniqueConstraint, text
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
from models.statuses import ToolCallStatus, ToolExecution


class TaskTurn(Base, WithId, WithCreated, TenantOwned):
    """What the model said in a turn that called tools; the last turn of a task is the message that it ends with."""

    __tablename__ = "task_turns"
    __table_args__ = (belongs_to("tasks", "task_id"), UniqueConstraint("task_id", "number"))

    task_id: Mapped[UUID] = mapped_column()
    number: Mapped[int] = mapped_column(Integer)
    """From 1."""
    said: Mapped[str] = mapped_column(Text)
    usage: Mapped[Json] = mapped_column()


class ToolCall(Base, WithId, WithCreated, TenantOwned):
    """A row per (task, call id): intent, approval, result. On resume, results are read, never redone."""

    __tablename__ = "tool_calls"
    __table_args__ = (
        tenant_key("tool_calls"),
        belongs_to("tasks", "task_id"),
        belongs_to("runs", "run_id", "session_id", "project_id"),
        belongs_to("user_agents", "agent_id", ondelete="SET NULL (agent_id)"),
        belongs_to("approval_grants", "grant_id", ondelete="SET NULL (grant_id)"),
        UniqueConstraint("task_id", "call_id"),
        status_check("status", ToolCallStatus),
        status_check("execution", ToolExecution),
        Index("ix_tool_calls_run_id", "run_id", "id"),
        Index("ix_tool_calls_project_id", "project_id", "id"),
        # Deleting an agent or a grant looks for the rows that name it.
        Index("ix_tool_calls_agent_id", "agent_id"),
        Index("ix_tool_calls_grant_id", "grant_id", postgresql_where=text("grant_id IS NOT NULL")),
        Index("ix_tool_calls_expires_at", "expires_at", postgresql_where=text("status = 'running'")),
    )

    project_id: Mapped[UUID] = mapped_column()
    session_id: Mapped[UUID] = mapped_column()
    run_id: Mapped[UUID] = mapped_column()
    task_id: Mapped[UUID] = mapped_column()
    agent_id: Mapped[UUID | None] = mapped_column()
    """Who called it; that agent may be gone by now."""
    agent_name: Mapped[str] = mapped_column(String(63))
    call_id: Mapped[str] = mapped_column(String(128))
    """The model's name for it, or ours where the model gave none that is its own."""
    turn: Mapped[int] = mapped_column(Integer)
    position: Mapped[int] = mapped_column(Integer)
    """Its place among the calls of its turn, from 0."""
    tool: Mapped[str] = mapped_column(String(64))
    arguments: Mapped[Json] = mapped_column()
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the tool's name and its exact arguments: what an approval is bound to."""
    risk: Mapped[str] = mapped_column(String(16))
    execution: Mapped[ToolExecution] = mapped_column(status_column(ToolExecution, "tool_call_execution"))
    status: Mapped[ToolCallStatus] = mapped_column(status_column(ToolCallStatus, "tool_call_status"))
    grant_id: Mapped[UUID | None] = mapped_column()
    """The standing yes that it runs under, if one covers it."""
    result: Mapped[Json | None] = mapped_column()
    """What the model is told: `{"ok": true, "output": {...}}` or `{"ok": false, "error": {"code", "detail"}}`."""
    started_at: Mapped[datetime | None] = mapped_column()
    expires_at: Mapped[datetime | None] = mapped_column()
    """Until when the owner's client may answer."""
    finished_at: Mapped[datetime | None] = mapped_column()
