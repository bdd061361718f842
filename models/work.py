"""Runs and their tasks."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, Integer, String, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY
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
from models.statuses import CancelReason, HeldReason, RunMode, RunStatus, TaskStatus


def _among(column: str, statuses: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(str(status)) for status in statuses)})"


REMEMBERED = (TaskStatus.COMPLETED, TaskStatus.FAILED)
"""How a task ends that becomes a memory of its agent. What was cancelled was not wanted."""


class Run(Base, WithId, WithCreated, TenantOwned):
    """The answering of one user message."""

    __tablename__ = "runs"
    __table_args__ = (
        tenant_key("runs"),
        tenant_key("runs", "session_id", "project_id"),
        belongs_to("chat_sessions", "session_id", "project_id"),
        belongs_to("runs", "retry_of", ondelete="SET NULL (retry_of)"),
        belongs_to("runs", "message_of"),
        status_check("mode", RunMode),
        status_check("status", RunStatus),
        Index(
            "ix_runs_active",
            "session_id",
            "id",
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index("ix_runs_session_id", "session_id", "id"),
        # What the database looks for with each run that is deleted.
        Index("ix_runs_retry_of", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
        Index("ix_runs_message_of", "message_of", postgresql_where=text("message_of IS NOT NULL")),
        # The last plans of a project, and what came of them.
        Index("ix_runs_planned", "project_id", "finished_at", postgresql_where=text("outcome IS NOT NULL")),
        Index(
            "ix_runs_unannounced",
            "finished_at",
            postgresql_where=text("announced_at IS NULL AND finished_at IS NOT NULL"),
        ),
        Index(
            "ix_runs_cancelling",
            "cancel_requested_at",
            postgresql_where=text("cancel_requested_at IS NOT NULL AND finished_at IS NULL"),
        ),
        Index(
            "uq_runs_idempotency_key",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )

    project_id: Mapped[UUID] = mapped_column()
    session_id: Mapped[UUID] = mapped_column()
    mode: Mapped[RunMode] = mapped_column(status_column(RunMode, "run_mode"))
    status: Mapped[RunStatus] = mapped_column(status_column(RunStatus, "run_status"))
    error: Mapped[Json | None] = mapped_column()
    """`{error_code, detail, retryable, retry_after}` of a run that failed."""
    usage: Mapped[Json] = mapped_column(default=dict)
    """`{prompt_tokens, completion_tokens, total_tokens, cost_usd}`; `cost_usd` is null where a price is unknown."""
    plan: Mapped[Json | None] = mapped_column()
    """The plan of an orchestrated run, see `workspace.plans.view.PlanView`."""
    outcome: Mapped[Json | None] = mapped_column()
    """What became of the plan, see `workspace.plans.view.PlanOutcome`."""
    retry_of: Mapped[UUID | None] = mapped_column()
    """The run of which this one does again what failed."""
    message_of: Mapped[UUID | None] = mapped_column()
    """The run whose message it answers; null: its own. A retry has none, and one of a retry answers the first one's."""
    started_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()
    """Set with the final status, never otherwise: `IS NULL` is what "active" means in queries."""
    announced_at: Mapped[datetime | None] = mapped_column()
    """When the terminal event was published; the sweeper publishes what lacks it."""
    cancel_requested_at: Mapped[datetime | None] = mapped_column()
    """Set while a node works on it, which then settles it as cancelled, unless it has the whole answer by that time."""
    cancel_reason: Mapped[CancelReason | None] = mapped_column(status_column(CancelReason, "cancel_reason"))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    """The client's own name for the message: sending it again makes no second run."""
    idempotency_digest: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the request that came with the key."""
    receipt: Mapped[Json | None] = mapped_column()
    """What the first request with the key was answered."""


class Task(Base, WithId, WithCreated, TenantOwned):
    """One agent's piece of a run; a `queued` row is the outbox entry of its Celery message."""

    __tablename__ = "tasks"
    __table_args__ = (
        tenant_key("tasks"),
        # Through its run it belongs to the session, the project and the user: one check instead of four.
        belongs_to("runs", "run_id", "session_id", "project_id"),
        belongs_to("user_agents", "agent_id", ondelete="SET NULL (agent_id)"),
        status_check("status", TaskStatus),
        # Few tasks are active at a time, so the sweeper may read this one whole.
        Index(
            "ix_tasks_agent_active",
            "agent_id",
            "status",
            "id",
            postgresql_where=text(_among("status", TaskStatus.active())),
        ),
        Index(
            "ix_tasks_session_active",
            "session_id",
            "status",
            "id",
            postgresql_where=text(_among("status", TaskStatus.active())),
        ),
        # What the user-wide cap counts.
        Index(
            "ix_tasks_user_active",
            "user_id",
            "status",
            "held_reason",
            postgresql_where=text(_among("status", TaskStatus.active())),
        ),
        # What an agent's last tasks took.
        Index("ix_tasks_completed", "agent_id", "finished_at", postgresql_where=text("status = 'completed'")),
        Index("ix_tasks_run_id", "run_id"),
        Index("uq_tasks_plan_task_id", "run_id", "plan_task_id", unique=True),
        Index(
            "ix_tasks_pending",
            "run_id",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "ix_tasks_unremembered",
            "finished_at",
            postgresql_where=text(f"remembered_at IS NULL AND {_among('status', REMEMBERED)}"),
        ),
    )

    project_id: Mapped[UUID] = mapped_column()
    session_id: Mapped[UUID] = mapped_column()
    run_id: Mapped[UUID] = mapped_column()
    agent_id: Mapped[UUID | None] = mapped_column()
    agent_name: Mapped[str] = mapped_column(String(63))
    agent_version: Mapped[int] = mapped_column(Integer)
    """The version of the config that it was accepted with; an older cache entry is reloaded."""
    plan_task_id: Mapped[str | None] = mapped_column(String(64))
    """Its id in the plan of its run, or that of one of the orchestrator's own tasks; null in a direct run."""
    instruction: Mapped[str | None] = mapped_column(Text)
    """What the plan asks its agent for."""
    depends_on: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
    """The tasks of its run whose results it is given."""
    follows: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default="{}")
    """Those of them that do not follow from others: the edges of the reduced graph. With one, it is the next step of a
    chain; with several, the body of a chord of which each is a part, in this order."""
    status: Mapped[TaskStatus] = mapped_column(status_column(TaskStatus, "task_status"))
    held_reason: Mapped[HeldReason | None] = mapped_column(status_column(HeldReason, "held_reason"))
    sent_at: Mapped[datetime | None] = mapped_column()
    send_count: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """How often a node started it: more than once after a shutdown in the middle."""
    node_id: Mapped[str | None] = mapped_column(String(128))
    epoch: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime | None] = mapped_column()
    """Of its last start."""
    ran_seconds: Mapped[float] = mapped_column(server_default="0")
    """Of its own running time before its last start: what it waits for a person is not in it."""
    finished_at: Mapped[datetime | None] = mapped_column()
    result: Mapped[str | None] = mapped_column(Text)
    error: Mapped[Json | None] = mapped_column()
    usage: Mapped[Json] = mapped_column(default=dict)
    recalled: Mapped[Json | None] = mapped_column()
    """`{memories: [...]}` that the model was shown, from its first turn with tools until the task ends: a task that is
    resumed shows it the same ones."""
    remembered_at: Mapped[datetime | None] = mapped_column()
    """When it became a memory of its agent, or it was decided that it does not; the outbox of what is remembered."""
