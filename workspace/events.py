"""What a stream delivers: one envelope, and a payload model for each event type.

Names on the wire are for ever: a snapshot test holds the JSON schema of this module.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from models.base import Json, utc_now
from models.statuses import (
    AgentStatus,
    ApprovalStatus,
    ApprovalType,
    Decision,
    MessageRole,
    RunMode,
    RunStatus,
    ToolCallStatus,
    ToolExecution,
)
from workspace.errors import ErrorCode, RunFailure
from workspace.memory.memories import InteractionType
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanOutcome, PlanView


class EventType(StrEnum):
    """Every type a client may meet."""

    MESSAGE_CREATED = "message_created"
    DIRECT_AGENT_CALL = "direct_agent_call"
    AGENT_STATUS_CHANGED = "agent_status_changed"
    TASK_PLAN_CREATED = "task_plan_created"
    PLAN_REQUEST = "plan_request"
    TASK_STARTED = "task_started"
    TASK_PROGRESS = "task_progress"
    TASK_COMPLETED = "task_completed"
    TASK_FAILED = "task_failed"
    TASK_SKIPPED = "task_skipped"
    TASK_CANCELLED = "task_cancelled"
    TASK_WAITING = "task_waiting"
    TOOL_REQUEST = "tool_request"
    TOOL_RESULT = "tool_result"
    APPROVAL_REQUIRED = "approval_required"
    APPROVAL_EXPIRING = "approval_expiring"
    APPROVAL_EXTENDED = "approval_extended"
    APPROVAL_RESOLVED = "approval_resolved"
    CONTEXT_RETRIEVED = "context_retrieved"
    RUN_COMPLETED = "run_completed"
    RUN_FAILED = "run_failed"
    RUN_CANCELLED = "run_cancelled"
    ALERT = "alert"
    ERROR = "error"
    HEARTBEAT = "heartbeat"
    STREAM_GAP = "stream_gap"


class ContextStatus(StrEnum):
    """What came of looking into an agent's memory."""

    OK = "ok"
    EMPTY = "empty"  # nothing in it is like the message
    UNAVAILABLE = "unavailable"  # the run goes on without


class AlertKind(StrEnum):
    """What an alert is about."""

    STUCK_TASK = "stuck_task"  # a task has made no progress for too long
    CACHE_OVERFLOW = "cache_overflow"  # a node's memory for agents' configs is too small
    QUEUE_ALMOST_FULL = "queue_almost_full"  # an agent's waiting tasks reached 80 % of their limit
    WORKER_LOST = "worker_lost"  # a node fell silent with work in hand
    MEMORY_UNAVAILABLE = "memory_unavailable"  # a node's memory does not answer
    WORKSPACE_ERROR = "workspace_error"  # a workspace could not be hosted, or not be cleaned up


class Payload(BaseModel):
    """The part of an event that depends on its type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: ClassVar[EventType]


class Usage(BaseModel):
    """Tokens and their price; `cost_usd` is null where the model has no price in the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost_usd: Decimal | None = None


class Failure(BaseModel):
    """Why a task or a run failed, and whether the same message may work later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error_code: ErrorCode
    detail: str
    retryable: bool = False
    retry_after: float | None = Field(None, description="seconds")

    @classmethod
    def of(cls, failure: RunFailure) -> Self:
        """Return what a client is told of a failure."""
        return cls(
            error_code=failure.code,
            detail=failure.detail,
            retryable=failure.retryable,
            retry_after=failure.retry_after,
        )


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


class TaskPlanCreated(Payload):
    """The orchestrator has a plan for the message; its tasks run when it is approved, or at once."""

    event_type = EventType.TASK_PLAN_CREATED

    plan: PlanView
    usage: Usage = Field(description="of planning")
    needs_approval: bool


class PlanRequest(Payload):
    """The owner is asked whether the plan may run. `approval_required`, which follows, says until when."""

    event_type = EventType.PLAN_REQUEST

    approval_id: UUID
    plan: PlanView
    reasons: tuple[str, ...] = Field(description="why its owner is asked")


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


class TaskSkipped(Payload):
    """The task will not run: something that it depends on went wrong."""

    event_type = EventType.TASK_SKIPPED

    agent_id: UUID | None
    agent_name: str
    plan_task_id: str
    because_of: tuple[str, ...] = Field(description="the tasks before it that went wrong, by their names in the plan")


class TaskCancelled(Payload):
    """One task of a plan was ended before its result; the rest of the plan goes on."""

    event_type = EventType.TASK_CANCELLED

    agent_id: UUID | None
    agent_name: str
    plan_task_id: str
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


class RunCompleted(Payload):
    """The message is answered."""

    event_type = EventType.RUN_COMPLETED

    mode: RunMode
    message_id: UUID | None
    usage: Usage
    status: RunStatus = Field(RunStatus.COMPLETED, description="`partial`: some tasks of its plan have no result")
    outcome: PlanOutcome | None = Field(None, description="what became of its plan; null for direct runs")


class RunFailed(Payload):
    """The message could not be answered."""

    event_type = EventType.RUN_FAILED

    mode: RunMode
    error: Failure
    outcome: PlanOutcome | None = Field(None, description="what became of its plan; null without one")


class RunCancelled(Payload):
    """The run was ended before its answer."""

    event_type = EventType.RUN_CANCELLED

    mode: RunMode
    error: Failure
    outcome: PlanOutcome | None = Field(None, description="what became of its plan; null without one")


class Alert(Payload):
    """Something that should be known although nothing failed yet."""

    event_type = EventType.ALERT

    kind: AlertKind
    detail: str
    agent_id: UUID | None = None
    agent_name: str | None = None


class Heartbeat(Payload):
    """Nothing happened; the connection lives."""

    event_type = EventType.HEARTBEAT


class StreamGap(Payload):
    """Events were missed: read the snapshot, then go on."""

    event_type = EventType.STREAM_GAP

    snapshot_url: str
    reason: str


class StreamError(Payload):
    """The stream ends for the reason given."""

    event_type = EventType.ERROR

    error_code: ErrorCode
    detail: str


class Envelope(BaseModel):
    """An event as it is stored and sent, but for its `id`, which the buffer gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: EventType
    session_id: UUID
    run_id: UUID | None
    task_id: UUID | None
    payload: dict[str, object]
    timestamp: datetime


class Event(Envelope):
    """An event as a reader gets it."""

    id: str | None = Field(description="null for `heartbeat`, `stream_gap` and `error`, which no cursor can name")


class EventScope(BaseModel):
    """Whose stream an event goes to, and which run and task it speaks of."""

    model_config = ConfigDict(frozen=True)

    key: WorkspaceKey
    session_id: UUID
    run_id: UUID | None = None
    task_id: UUID | None = None

    def event(self, payload: Payload) -> bytes:
        """Return the envelope of `payload` as JSON without an id, as the buffer keeps it."""
        return encode(self.session_id, self.run_id, self.task_id, payload)


def encode(session_id: UUID, run_id: UUID | None, task_id: UUID | None, payload: Payload) -> bytes:
    """Return an envelope as JSON bytes, without an id."""
    run = f'"{run_id}"' if run_id else "null"
    task = f'"{task_id}"' if task_id else "null"
    head = f'{{"event_type":"{payload.event_type}","session_id":"{session_id}","run_id":{run},"task_id":{task},'
    return f'{head}"payload":{payload.model_dump_json()},"timestamp":"{utc_now().isoformat()}"}}'.encode()


def with_id(event_id: str | None, body: bytes) -> bytes:
    """Return the JSON of an envelope with its id in front; `None` for events that no cursor can name."""
    head = f'{{"id":"{event_id}",' if event_id is not None else '{"id":null,'
    return head.encode() + body[1:]
