"""The types that a client may meet, and the words that events use."""

from enum import StrEnum


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
