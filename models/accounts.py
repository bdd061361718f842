"""Users, their projects and the workspaces that serve them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Json, TenantOwned, WithCreated, WithId, status_check, status_column, tenant_key, utc_now
from models.statuses import ToolExecution, WorkspaceState


class User(Base, WithId, WithCreated):
    """A person, made at the first request with a valid token."""

    __tablename__ = "users"

    subject: Mapped[str] = mapped_column(String(128), unique=True)
    """The token's `sub`. It appears in no name, key or URL: those carry `id`."""
    email: Mapped[str | None] = mapped_column(String(254))


class Project(Base, WithId, WithCreated, TenantOwned):
    """A body of work with its own team of agents. Each user has one default project, which `/my/...` addresses."""

    __tablename__ = "projects"
    __table_args__ = (
        tenant_key("projects"),
        ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        Index("uq_projects_default", "user_id", unique=True, postgresql_where=text("is_default")),
        Index("ix_projects_user_id", "user_id", "id"),
        status_check("tool_execution", ToolExecution),
    )

    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(Text, default="")
    is_default: Mapped[bool] = mapped_column(default=False)
    tool_execution: Mapped[ToolExecution] = mapped_column(
        status_column(ToolExecution, "tool_execution"),
        default=ToolExecution.SERVER,
        server_default=ToolExecution.SERVER.value,
    )
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)


class Workspace(Base, WithCreated, TenantOwned):
    """Which node hosts a project, and under which epoch.

    `epoch` grows by one with each new host; every start and finish of a task compares it, so that a node that lost the
    workspace can change nothing.
    """

    __tablename__ = "workspaces"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "user_id"], ["projects.id", "projects.user_id"], ondelete="CASCADE"),
        status_check("state", WorkspaceState),
        Index("ix_workspaces_node_id", "node_id", postgresql_where=text("node_id IS NOT NULL")),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    node_id: Mapped[str | None] = mapped_column(String(128))
    epoch: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[WorkspaceState] = mapped_column(
        status_column(WorkspaceState, "workspace_state"), default=WorkspaceState.NOT_INITIALIZED
    )
    settings: Mapped[Json] = mapped_column(default=dict)
    data_id: Mapped[UUID | None] = mapped_column()
    """The id of the data directory that has its files; nodes that see another one do not host it."""
    initialized_at: Mapped[datetime | None] = mapped_column()
    """When its present or last host had it ready."""
    alive_until: Mapped[datetime | None] = mapped_column()
    """Extended by its host only while Redis, which holds the lease, does not answer."""
