"""Events of a task on its way, alike in direct runs and in plans."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from workspace.events.payload import Failure, Payload, Usage
from workspace.events.types import ContextStatus, EventType
from workspace.memory.memories import InteractionType


class TaskStarted(Payload):
    """A node works on the task."""

    event_type = EventType.TASK_STARTED

    agent_id: UUID | None = Field(description="null for the orchestrator's own tasks")
    agent_name: str
    attempt: int
    plan_task_id: str | None = Field(None, description="its name in the plan of its run")


class RetrievedMemory(BaseModel):
    """A memory that the model is shown; its text is in the agent's memory alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID
    score: float = Field(description="how like the message it is, at most 1")
    interaction_type: InteractionType
    created_at: datetime


class ContextRetrieved(Payload):
    """The agent's memory was looked into for what is like the message."""

    event_type = EventType.CONTEXT_RETRIEVED

    agent_id: UUID
    agent_name: str
    items: tuple[RetrievedMemory, ...] = Field(description="the most like it first")
    status: ContextStatus
    detail: str | None = Field(description="why it is unavailable")
    duration: float = Field(description="seconds")


class TaskProgress(Payload):
    """The next piece of the answer. Pieces of one (turn, attempt) join to the turn's text."""

    event_type = EventType.TASK_PROGRESS

    text: str
    offset: int = Field(description="characters of this turn before this piece; 0 after a retry: start over")
    turn: int
    attempt: int


class TaskCompleted(Payload):
    """The task has its result."""

    event_type = EventType.TASK_COMPLETED

    agent_id: UUID | None
    agent_name: str
    usage: Usage
    duration_seconds: float


class TaskFailed(Payload):
    """The task failed."""

    event_type = EventType.TASK_FAILED

    agent_id: UUID | None
    agent_name: str
    error: Failure


class TaskWaiting(Payload):
    """The task goes on when something else has happened; it holds no slot until then."""

    event_type = EventType.TASK_WAITING

    agent_id: UUID | None
    agent_name: str
    reason: str = Field(
        description="`user_cap`: the user has as many tasks at work as one may have; `approval`: the owner is asked; "
        "`client_tool`: the owner's client carries a tool out"
    )
    detail: str
