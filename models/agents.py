"""The configured personas of a project, and its orchestrator's configuration."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, Integer, String, Text, UniqueConstraint
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
    utc_now,
)
from models.statuses import AgentStatus


class UserAgent(Base, WithId, WithCreated, TenantOwned):
    """An agent, unique by name in its project. The name never changes; each change of the config bumps `version`."""

    __tablename__ = "user_agents"
    __table_args__ = (
        tenant_key("user_agents"),
        belongs_to("projects", "project_id"),
        UniqueConstraint("project_id", "name"),
        status_check("status", AgentStatus),
        Index("ix_user_agents_user_id_project_id", "user_id", "project_id", "id"),
    )

    project_id: Mapped[UUID] = mapped_column()
    name: Mapped[str] = mapped_column(String(63))
    config: Mapped[Json] = mapped_column()
    version: Mapped[int] = mapped_column(Integer, default=1)
    status: Mapped[AgentStatus] = mapped_column(status_column(AgentStatus, "agent_status"), default=AgentStatus.READY)
    status_reason: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    @property
    def slug(self) -> str:
        """The public `agent_id`: `user{id}_{name}_{version}`."""
        return f"user{self.user_id}_{self.name}_{self.version}"


class UserOrchestrator(Base, WithId, WithCreated, TenantOwned):
    """How a project plans: one row a project."""

    __tablename__ = "user_orchestrators"
    __table_args__ = (belongs_to("projects", "project_id"), UniqueConstraint("project_id"))

    project_id: Mapped[UUID] = mapped_column()
    config: Mapped[Json] = mapped_column()
    version: Mapped[int] = mapped_column(Integer, default=1)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
