"""What can go wrong, as one tree. The docstring is the default message; data are attributes.

Who is to blame decides the class: `RequestError` the caller, `Unavailable` a part of ours that may come back,
`RunFailure` the work itself. `api.errors` maps each code to its HTTP status.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple


class ErrorCode(StrEnum):
    """The machine-readable names on the wire. They never change."""

    NOT_FOUND = "not_found"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    VALIDATION_ERROR = "validation_error"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    RATE_LIMITED = "rate_limited"
    AGENT_NAME_TAKEN = "agent_name_taken"
    AGENT_QUEUE_FULL = "agent_queue_full"
    SESSION_BUSY = "session_busy"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    TOO_MANY_STREAMS = "too_many_streams"
    DEFAULT_PROJECT = "default_project"
    APPROVAL_ALREADY_DECIDED = "approval_already_decided"
    APPROVAL_EXPIRED = "approval_expired"
    TOOL_CALL_NOT_PENDING = "tool_call_not_pending"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    MEMORY_UNAVAILABLE = "memory_unavailable"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"
    WORKER_LOST = "worker_lost"
    WORKER_SHUTDOWN = "worker_shutdown"
    AGENT_DELETED = "agent_deleted"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    MODEL_ERROR = "model_error"
    BUDGET_EXCEEDED = "budget_exceeded"
    PLAN_REJECTED = "plan_rejected"
    RUN_NOT_RETRYABLE = "run_not_retryable"


class CodelabError(Exception):
    """Something went wrong."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR

    def __init__(self, detail: str | None = None, *, retry_after: float | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.retry_after = retry_after
        """Seconds after which the same call may work, where that is known."""
        super().__init__(self.detail)


class RequestError(CodelabError):
    """The request cannot be carried out as it is."""


class NotFound(RequestError):
    """Not found."""

    code = ErrorCode.NOT_FOUND


class InvalidInput(RequestError):
    """The input does not have the form it needs."""

    code = ErrorCode.VALIDATION_ERROR


class InputMistake(NamedTuple):
    """One of several things that are wrong with an input."""

    loc: tuple[str | int, ...]
    type: str
    msg: str


class InvalidParts(InvalidInput):
    """Several parts of the input do not have the form they need."""

    def __init__(self, mistakes: Sequence[InputMistake]) -> None:
        super().__init__(" ".join(mistake.msg for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class InvalidLine(InvalidInput):
    """A line of an import is no memory."""

    def __init__(self, detail: str, *, line: int, stored: int) -> None:
        super().__init__(f"Line {line}: {detail}")
        self.line = line
        """Its number, from 1."""
        self.stored = stored
        """Memories that stood before it, which are kept."""


class AgentNameTaken(RequestError):
    """An agent of this name exists in the project."""

    code = ErrorCode.AGENT_NAME_TAKEN


class DefaultProjectKept(RequestError):
    """The default project cannot be deleted."""

    code = ErrorCode.DEFAULT_PROJECT


class AgentQueueFull(RequestError):
    """The agent's queue is full."""

    code = ErrorCode.AGENT_QUEUE_FULL

    def __init__(self, *, queued: int, limit: int, retry_after: float, who: str = "agent") -> None:
        super().__init__(f"The {who} has {queued} tasks waiting, its queue takes {limit}.", retry_after=retry_after)
        self.queued = queued


class SessionBusy(RequestError):
    """The session has a run that is not finished."""

    code = ErrorCode.SESSION_BUSY


class IdempotencyConflict(RequestError):
    """The Idempotency-Key came with another request before."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT


class ApprovalAlreadyDecided(RequestError):
    """The approval has been decided."""

    code = ErrorCode.APPROVAL_ALREADY_DECIDED


class ApprovalExpired(RequestError):
    """The time for an answer is over."""

    code = ErrorCode.APPROVAL_EXPIRED


class RunNotRetryable(RequestError):
    """The run has nothing that could be done again."""

    code = ErrorCode.RUN_NOT_RETRYABLE


class ToolCallNotPending(RequestError):
    """The tool call does not wait for this result."""

    code = ErrorCode.TOOL_CALL_NOT_PENDING


class TooManyStreams(RequestError):
    """Too many event streams are open."""

    code = ErrorCode.TOO_MANY_STREAMS


class Unavailable(CodelabError):
    """A part of the system is out of reach; the same request may work soon."""

    code = ErrorCode.OVERLOADED


class MemoryUnavailable(Unavailable):
    """The agent's memory is out of reach; work goes on without it."""

    code = ErrorCode.MEMORY_UNAVAILABLE


class MemoryInUse(MemoryUnavailable):
    """Another process has this memory open."""


class MemoryOvertaken(MemoryUnavailable):
    """The agent was deleted."""


class EmbeddingsUnavailable(MemoryUnavailable):
    """The model's server makes no vectors of texts now, or none that can be used."""


class DimensionsChanged(MemoryUnavailable):
    """The memory was made with another embedding than the one that is set now."""

    def __init__(self, *, expected: object, got: object) -> None:
        super().__init__(
            f"The memory was made with {expected}, and EMBEDDING_MODEL and EMBEDDING_DIMENSIONS say {got}: "
            "export it, clear it and import it again, or set them back."
        )
        self.expected = expected
        self.got = got


class RunFailure(CodelabError):
    """The work of a task failed."""

    retryable: ClassVar[bool] = False
    """Whether sending the same message again may work."""


class ModelFailure(RunFailure):
    """The model's provider refused the request."""

    code = ErrorCode.MODEL_ERROR


class ModelRequestRefused(ModelFailure):
    """The model's provider refused this very request; another one it may answer."""


class ModelUnavailable(ModelFailure):
    """The model's provider could not be reached or gave no answer, after every retry."""

    retryable = True


class DeadlineExceeded(RunFailure):
    """The task used up its running time."""

    code = ErrorCode.DEADLINE_EXCEEDED
    retryable = True


class WorkerLost(RunFailure):
    """The node that worked on the task was lost."""

    code = ErrorCode.WORKER_LOST
    retryable = True


class WorkerShutdown(RunFailure):
    """The node shut down before the task ended."""

    code = ErrorCode.WORKER_SHUTDOWN
    retryable = True


class AgentDeleted(RunFailure):
    """The agent was deleted."""

    code = ErrorCode.AGENT_DELETED


class BudgetExceeded(RunFailure):
    """The run used up what it may cost."""

    code = ErrorCode.BUDGET_EXCEEDED


class PlanRejected(RunFailure):
    """The owner does not want the plan."""

    code = ErrorCode.PLAN_REJECTED


class PlanNotAnswered(RunFailure):
    """The owner did not answer in time whether the plan may run."""

    code = ErrorCode.APPROVAL_EXPIRED
    retryable = True


class InternalFailure(RunFailure):
    """An unexpected error ended the task; the log has it under the run's id."""

    code = ErrorCode.INTERNAL_ERROR
    retryable = True


class Cancelled(RunFailure):
    """The run was cancelled."""

    code = ErrorCode.CANCELLED
