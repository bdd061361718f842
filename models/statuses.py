"""The statuses of everything that moves, with the moves that are legal written beside them.

`expected_before(status)` is what a compare-and-set names in its WHERE clause, so that an illegal move changes no row.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class IllegalTransition(Exception):
    """A status was asked to move where its rules do not allow it."""


class Status(StrEnum):
    """A status whose legal moves are known."""

    @property
    def following(self) -> frozenset["Status"]:
        """The statuses that may come next."""
        return _MOVES[type(self)][self]

    @property
    def is_final(self) -> bool:
        """Whether nothing can follow."""
        return not self.following

    @classmethod
    def active(cls) -> tuple[Self, ...]:
        """Return the statuses that something can still follow."""
        return tuple(status for status in cls if not status.is_final)

    @classmethod
    def expected_before(cls, to: Self) -> tuple[Self, ...]:
        """Return the statuses from which `to` may be reached."""
        return tuple(status for status in cls if to in status.following)

    def check_move(self, to: Self) -> None:
        """Refuse an illegal move.

        Raises:
            IllegalTransition: `to` may not follow this status.
        """
        if to not in self.following:
            raise IllegalTransition(f"{type(self).__name__}: {self} -> {to}")


_MOVES: dict[type[Status], Mapping[Status, frozenset[Status]]] = {}


class TaskStatus(Status):
    """One agent's piece of a run."""

    PENDING = "pending"  # dependencies in its plan have not settled
    HELD = "held"  # may not start yet, see HeldReason; never published
    QUEUED = "queued"  # the outbox: a message for it is on its agent's queue or will be sent
    RUNNING = "running"  # one node works on it, named with its epoch
    WAITING = "waiting"  # parked for a person or a client; holds no slot
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"  # a dependency failed
    CANCELLED = "cancelled"


_MOVES[TaskStatus] = {
    TaskStatus.PENDING: frozenset({TaskStatus.HELD, TaskStatus.QUEUED, TaskStatus.SKIPPED, TaskStatus.CANCELLED}),
    TaskStatus.HELD: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED, TaskStatus.FAILED}),
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.HELD, TaskStatus.CANCELLED, TaskStatus.FAILED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.WAITING,
            TaskStatus.QUEUED,
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.WAITING: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED, TaskStatus.FAILED}),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.SKIPPED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
}


class HeldReason(StrEnum):
    """Why a task may not be sent yet."""

    SESSION = "session"  # an earlier run of its session is active
    USER_CAP = "user_cap"  # the user's running tasks are at their cap


class CancelReason(StrEnum):
    """Why a run was ended before its answer."""

    REQUESTED = "requested"  # its owner said so
    INTERRUPTED = "interrupted"  # a newer message of its session took its place
    RESET = "reset"  # its workspace was reset
    AGENT_DELETED = "agent_deleted"
    TOO_OLD = "too_old"  # it reached the age that a run may have


class RunStatus(Status):
    """The answering of one user message."""

    PLANNING = "planning"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    PARTIAL = "partial"  # some tasks of the plan failed, others did not
    FAILED = "failed"
    CANCELLED = "cancelled"


_RUN_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED})
_MOVES[RunStatus] = {
    RunStatus.PLANNING: frozenset({RunStatus.WAITING, RunStatus.RUNNING}) | _RUN_ENDS,
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING}) | _RUN_ENDS,
    RunStatus.RUNNING: frozenset({RunStatus.WAITING, RunStatus.QUEUED}) | _RUN_ENDS,
    RunStatus.WAITING: frozenset({RunStatus.QUEUED, RunStatus.RUNNING}) | _RUN_ENDS,
    RunStatus.COMPLETED: frozenset(),
    RunStatus.PARTIAL: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


class RunMode(StrEnum):
    """How a message is answered."""

    DIRECT = "direct"
    ORCHESTRATED = "orchestrated"


class ToolCallStatus(Status):
    """One entry of the ledger of tool calls."""

    REQUESTED = "requested"  # may run: nobody has to be asked, or the answer was yes
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"  # a node carries it out, or the owner's client was asked to
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"  # the owner, or the owner's client, did not answer in time
    UNKNOWN = "unknown"  # it was running when its node was lost


_MOVES[ToolCallStatus] = {
    ToolCallStatus.REQUESTED: frozenset(
        {ToolCallStatus.AWAITING_APPROVAL, ToolCallStatus.RUNNING, ToolCallStatus.FAILED, ToolCallStatus.REJECTED}
    ),
    ToolCallStatus.AWAITING_APPROVAL: frozenset(
        {ToolCallStatus.REQUESTED, ToolCallStatus.REJECTED, ToolCallStatus.EXPIRED, ToolCallStatus.FAILED}
    ),
    ToolCallStatus.RUNNING: frozenset(
        {ToolCallStatus.SUCCEEDED, ToolCallStatus.FAILED, ToolCallStatus.UNKNOWN, ToolCallStatus.EXPIRED}
    ),
    ToolCallStatus.SUCCEEDED: frozenset(),
    ToolCallStatus.FAILED: frozenset(),
    ToolCallStatus.REJECTED: frozenset(),
    ToolCallStatus.EXPIRED: frozenset(),
    ToolCallStatus.UNKNOWN: frozenset(),
}


class ToolExecution(StrEnum):
    """Where the tools of a project are carried out."""

    SERVER = "server"
    CLIENT = "client"  # where a tool has a counterpart there


class ApprovalStatus(Status):
    """A request for the user's yes or no."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


_MOVES[ApprovalStatus] = {
    ApprovalStatus.PENDING: frozenset(set(ApprovalStatus) - {ApprovalStatus.PENDING}),
    ApprovalStatus.APPROVED: frozenset(),
    ApprovalStatus.REJECTED: frozenset(),
    ApprovalStatus.EXPIRED: frozenset(),
    ApprovalStatus.CANCELLED: frozenset(),
}


class ApprovalType(StrEnum):
    """What is asked for."""

    TOOL = "tool"
    PLAN = "plan"


class Decision(StrEnum):
    """What the person said."""

    APPROVE = "approve"
    REJECT = "reject"


class WorkspaceState(Status):
    """The live backend side of one (user, project)."""

    NOT_INITIALIZED = "not_initialized"
    INITIALIZING = "initializing"
    INITIALIZED = "initialized"
    IN_USE = "in_use"
    CLEANING = "cleaning"
    CLEANED = "cleaned"
    ERROR = "error"
    SHUTDOWN = "shutdown"


_MOVES[WorkspaceState] = {
    WorkspaceState.NOT_INITIALIZED: frozenset({WorkspaceState.INITIALIZING}),
    WorkspaceState.INITIALIZING: frozenset({WorkspaceState.INITIALIZED, WorkspaceState.ERROR, WorkspaceState.SHUTDOWN}),
    WorkspaceState.INITIALIZED: frozenset(
        {WorkspaceState.IN_USE, WorkspaceState.CLEANING, WorkspaceState.SHUTDOWN, WorkspaceState.INITIALIZING}
    ),
    WorkspaceState.IN_USE: frozenset({WorkspaceState.INITIALIZED, WorkspaceState.CLEANING, WorkspaceState.SHUTDOWN}),
    WorkspaceState.CLEANING: frozenset(
        {
            WorkspaceState.CLEANED,
            WorkspaceState.ERROR,
            WorkspaceState.SHUTDOWN,
            WorkspaceState.INITIALIZING,
            WorkspaceState.INITIALIZED,
        }
    ),
    WorkspaceState.CLEANED: frozenset({WorkspaceState.INITIALIZING}),
    WorkspaceState.ERROR: frozenset({WorkspaceState.INITIALIZING, WorkspaceState.CLEANING, WorkspaceState.SHUTDOWN}),
    WorkspaceState.SHUTDOWN: frozenset({WorkspaceState.CLEANED, WorkspaceState.INITIALIZING}),
}


class AgentStatus(StrEnum):
    """What a person sees of an agent. `busy` is never stored: it means that a task of the agent is running."""

    READY = "ready"
    BUSY = "busy"
    ERROR = "error"


class MessageRole(StrEnum):
    """Who said it."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"
