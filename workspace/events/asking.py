"""Events of tools, and of what the owner or their client is asked for."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from models.base import Json
from models.statuses import ApprovalStatus, ApprovalType, Decision, ToolCallStatus, ToolExecution
from workspace.events.payload import Payload
from workspace.events.types import EventType


class ToolRequest(Payload):
    """The owner's client is asked to carry a tool out: only in projects with `tool_execution` `client`."""

    event_type = EventType.TOOL_REQUEST

    tool_call_id: UUID
    call_id: str
    tool: str
    arguments: Json
    arguments_complete: bool = Field(description="false: long texts were cut; the tool call itself has them")
    digest: str = Field(description="SHA-256 of the tool and its exact arguments")
    agent_id: UUID | None
    agent_name: str
    expires_at: datetime


class ToolResult(Payload):
    """A tool call has its result."""

    event_type = EventType.TOOL_RESULT

    tool_call_id: UUID
    call_id: str
    tool: str
    status: ToolCallStatus
    execution: ToolExecution
    error_code: str | None = None
    detail: str | None = None
    duration_seconds: float | None = None


class ApprovalRequired(Payload):
    """The owner is asked: the task goes on with the answer, or without one at the deadline."""

    event_type = EventType.APPROVAL_REQUIRED

    approval_id: UUID
    type: ApprovalType
    tool_call_id: UUID | None
    tool: str | None
    arguments: Json
    arguments_complete: bool = Field(description="false: long texts were cut; the approval itself has them")
    risk: str
    reasons: tuple[str, ...]
    agent_id: UUID | None
    agent_name: str
    ask: int = Field(description="the how many-th time that the same is asked for in this run")
    timeout: int = Field(description="seconds")
    expires_at: datetime


class ApprovalExpiring(Payload):
    """The owner has little time left to answer."""

    event_type = EventType.APPROVAL_EXPIRING

    approval_id: UUID
    expires_at: datetime
    seconds_left: float


class ApprovalExtended(Payload):
    """The owner has more time to answer."""

    event_type = EventType.APPROVAL_EXTENDED

    approval_id: UUID
    expires_at: datetime
    timeout: int = Field(description="seconds in all")


class ApprovalResolved(Payload):
    """An approval is no longer open."""

    event_type = EventType.APPROVAL_RESOLVED

    approval_id: UUID
    type: ApprovalType
    status: ApprovalStatus
    decision: Decision | None
    reason: str | None
    tool_call_id: UUID | None
