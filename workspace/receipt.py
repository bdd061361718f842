"""What the sender of a message is told, and what its session is."""

from typing import NamedTuple
from uuid import UUID

from models.statuses import MessageRole, RunMode, TaskStatus
from workspace.event_publisher import NO_EVENT
from workspace.events import DirectAgentCall, MessageCreated, Payload
from workspace.idempotency import Repeated
from workspace.intake import Accepted


class Receipt(NamedTuple):
    """What the sender of a message is told."""

    message_id: UUID
    run_id: UUID
    task_id: UUID
    mode: RunMode
    status: TaskStatus
    queue_position: int
    cursor: str
    """The last event before this message; a reader that starts there misses nothing of it."""
    replayed: bool = False
    """Whether it is the first answer to a message that was sent again."""

    @classmethod
    def of(cls, accepted: Accepted, cursor: str) -> "Receipt":
        """Return the receipt for a message whose events were told after `cursor`."""
        return cls(
            accepted.message_id,
            accepted.run_id,
            accepted.task_id,
            accepted.mode,
            accepted.status,
            accepted.queue_position,
            cursor,
        )

    @classmethod
    def again(cls, repeated: Repeated) -> "Receipt":
        """Return the first receipt of a message that was sent again."""
        stored = repeated.receipt
        return cls(
            repeated.message_id,
            repeated.run_id,
            repeated.task_id,
            RunMode(stored.get("mode", RunMode.DIRECT)),
            TaskStatus(stored["status"]),
            int(stored["queue_position"]),
            # It is written after the events went out. Without it, all that the buffer has is told.
            str(stored.get("cursor", NO_EVENT)),
            replayed=True,
        )


def accepted_events(accepted: Accepted, content: str) -> list[Payload]:
    """Return what a session is told of a message that was accepted."""
    created = MessageCreated(message_id=accepted.message_id, role=MessageRole.USER, content=content)
    return [created, *called_events(accepted)]


def called_events(accepted: Accepted) -> list[Payload]:
    """Return what a session is told of who answers; the orchestrator tells of its plan by itself."""
    target = accepted.target
    if accepted.mode is not RunMode.DIRECT:
        return []
    return [
        DirectAgentCall(agent_id=target.agent_id, agent_name=target.agent_name, queue_position=accepted.queue_position)
    ]
