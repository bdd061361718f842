"""What a stream delivers: one envelope, and a payload model for each event type.

Names on the wire are for ever: a snapshot test holds the JSON schema of this package.
"""

from workspace.events.asking import (
    ApprovalExpiring,
    ApprovalExtended,
    ApprovalRequired,
    ApprovalResolved,
    ToolRequest,
    ToolResult,
)
from workspace.events.envelope import Envelope, Event, EventScope, encode, with_id
from workspace.events.messages import AgentStatusChanged, DirectAgentCall, MessageCreated
from workspace.events.payload import Failure, Payload, Usage
from workspace.events.plans import PlanRequest, TaskCancelled, TaskPlanCreated, TaskSkipped
from workspace.events.runs import RunCancelled, RunCompleted, RunFailed
from workspace.events.streams import Alert, Heartbeat, StreamError, StreamGap
from workspace.events.tasks import (
    ContextRetrieved,
    RetrievedMemory,
    TaskCompleted,
    TaskFailed,
    TaskProgress,
    TaskStarted,
    TaskWaiting,
)
from workspace.events.types import AlertKind, ContextStatus, EventType

__all__ = [
    "AgentStatusChanged",
    "Alert",
    "AlertKind",
    "ApprovalExpiring",
    "ApprovalExtended",
    "ApprovalRequired",
    "ApprovalResolved",
    "ContextRetrieved",
    "ContextStatus",
    "DirectAgentCall",
    "Envelope",
    "Event",
    "EventScope",
    "EventType",
    "Failure",
    "Heartbeat",
    "MessageCreated",
    "Payload",
    "PlanRequest",
    "RetrievedMemory",
    "RunCancelled",
    "RunCompleted",
    "RunFailed",
    "StreamError",
    "StreamGap",
    "TaskCancelled",
    "TaskCompleted",
    "TaskFailed",
    "TaskPlanCreated",
    "TaskProgress",
    "TaskSkipped",
    "TaskStarted",
    "TaskWaiting",
    "ToolRequest",
    "ToolResult",
    "Usage",
    "encode",
    "with_id",
]
