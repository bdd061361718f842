"""Sessions and the messages in them."""

from uuid import UUID

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import (
    Base,
    TenantOwned,
    WithCreated,
    WithId,
    belongs_to,
    status_check,
    status_column,
    tenant_key,
)
from models.statuses import MessageRole


class ChatSession(Base, WithId, WithCreated, TenantOwned):
    """A chat. Its runs are answered in the order of their messages."""

    __tablename__ = "chat_sessions"
    __table_args__ = (
        tenant_key("chat_sessions", "project_id"),
        belongs_to("projects", "project_id"),
        Index("ix_chat_sessions_user_id_project_id", "user_id", "project_id", "id"),
    )

    project_id: Mapped[UUID] = mapped_column()
    title: Mapped[str | None] = mapped_column(String(256))


class Message(Base, WithId, WithCreated, TenantOwned):
    """One turn of text. Ordered by (run_id, id), which is the order of the conversation: run ids grow with time."""

    __tablename__ = "messages"
    __table_args__ = (
        # Through its run it belongs to the session, the project and the user: one check instead of three.
        belongs_to("runs", "run_id", "session_id", "project_id"),
        belongs_to("user_agents", "agent_id", ondelete="SET NULL (agent_id)"),
        status_check("role", MessageRole),
        Index("ix_messages_session_id", "session_id", "run_id", "id"),
    )

    project_id: Mapped[UUID] = mapped_column()
    session_id: Mapped[UUID] = mapped_column()
    run_id: Mapped[UUID] = mapped_column()
    role: Mapped[MessageRole] = mapped_column(status_column(MessageRole, "message_role"))
    content: Mapped[str] = mapped_column(Text)
    agent_id: Mapped[UUID | None] = mapped_column()
    agent_name: Mapped[str | None] = mapped_column(String(63))
    """Kept when the agent is deleted."""
