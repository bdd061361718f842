"""Events of messages and of the agents that they go to."""

from uuid import UUID

from pydantic import Field

from models.statuses import AgentStatus, MessageRole
from workspace.events.payload import Payload
from workspace.events.types import EventType


class MessageCreated(Payload):
    """A message was stored."""

    event_type = EventType.MESSAGE_CREATED

    message_id: UUID
    role: MessageRole
    content: str
    agent_id: UUID | None = None
    agent_name: str | None = None


class DirectAgentCall(Payload):
    """A message goes to one named agent."""

    event_type = EventType.DIRECT_AGENT_CALL

    agent_id: UUID
    agent_name: str
    queue_position: int = Field(description="0: it may start at once")


class AgentStatusChanged(Payload):
    """An agent began to work, ended its last task, or met an error."""

    event_type = EventType.AGENT_STATUS_CHANGED

    agent_id: UUID
    agent_name: str
    status: AgentStatus
    reason: str | None = None
