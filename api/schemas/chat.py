"""Sessions, messages and runs over HTTP."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.common import PageQuery, RequestModel, ResponseModel, Text
from models import Message, Run, Task
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from workspace.agent_config import AgentName
from workspace.chat_store import RunView, SessionView
from workspace.events import Failure, Usage


class SessionRequest(RequestModel):
    """A session to begin."""

    title: Text | None = Field(None, min_length=1, max_length=256)


class SessionResponse(ResponseModel):
    """A session."""

    id: UUID
    title: str | None
    created_at: datetime
    message_count: int

    @classmethod
    def of(cls, view: SessionView) -> Self:
        """Return the response for a row."""
        chat = view.session
        return cls(id=chat.id, title=chat.title, created_at=chat.created_at, message_count=view.message_count)


class MessageRequest(RequestModel):
    """A message for one agent."""

    content: Text = Field(min_length=1, max_length=100_000)
    target_agent: AgentName = Field(description="the name of the agent that answers")


class AcceptedResponse(ResponseModel):
    """A message that will be answered; what happens is told at `events_url`."""

    message_id: UUID
    run_id: UUID
    task_id: UUID
    mode: RunMode
    status: TaskStatus
    queue_position: int = Field(description="tasks ahead of it on the agent's queue")
    events_url: str


class MessageQuery(PageQuery):
    """Which messages are wanted."""

    role: MessageRole | None = None


class MessageResponse(ResponseModel):
    """A message."""

    id: UUID
    run_id: UUID
    role: MessageRole
    content: str
    agent_id: UUID | None
    agent_name: str | None
    created_at: datetime

    @classmethod
    def of(cls, message: Message) -> Self:
        """Return the response for a row."""
        return cls.model_validate(message, from_attributes=True)


class RunQuery(PageQuery):
    """Which runs are wanted."""

    status: RunStatus | None = None


class RunSummary(ResponseModel):
    """A run without its tasks."""

    id: UUID
    session_id: UUID
    mode: RunMode
    status: RunStatus
    error: Failure | None
    usage: Usage
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the response for a row."""
        return cls.model_validate(run, from_attributes=True)


class TaskResponse(ResponseModel):
    """One agent's piece of a run."""

    id: UUID
    agent_id: UUID | None
    agent_name: str
    agent_version: int
    status: TaskStatus
    held_reason: HeldReason | None
    error: Failure | None
    usage: Usage
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the response for a row."""
        return cls.model_validate(task, from_attributes=True)


class RunResponse(RunSummary):
    """A run with its tasks."""

    tasks: list[TaskResponse]

    @classmethod
    def of_view(cls, view: RunView) -> Self:
        """Return the response for a run and its tasks."""
        summary = RunSummary.of(view.run)
        return cls(**dict(summary), tasks=[TaskResponse.of(task) for task in view.tasks])
