"""An agent whose queue a node consumes, and the slots in which its tasks run there."""

import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from uuid import UUID

from workspace.interruptible import StopSignal
from workspace.names import WorkspaceKey


class Refusal(Enum):
    """Why a task got no slot."""

    DUPLICATE = auto()  # a second message of a task that runs here
    FULL = auto()
    DETACHED = auto()  # the agent was let go: what would begin now, nobody would count or stop


@dataclass(eq=False)
class Slot:
    """One of an agent's slots, held by one task."""

    queue: "AttachedAgent"
    task_id: UUID
    generation: int
    """Of the channel that the message came by."""
    stop: StopSignal = field(default_factory=StopSignal)

    def is_alone(self) -> bool:
        """Whether the agent has no other task running."""
        return len(self.queue.running) <= 1


@dataclass(eq=False)
class AttachedAgent:
    """An agent whose queue this node consumes."""

    key: WorkspaceKey
    agent_id: UUID
    agent_name: str
    limit: int
    running: dict[UUID, Slot] = field(default_factory=dict)
    delivered: int = 0
    """Messages that the present channel handed out and that are not settled."""
    last_used: float = field(default_factory=time.monotonic)
    generation: int = 0
    consumer: Any = None
    prefetch: int = 0

    @property
    def queue_name(self) -> str:
        """The name of its Celery queue."""
        return self.key.agent_queue(self.agent_name)

    @property
    def in_hand(self) -> int:
        """Messages that are here and not at work yet."""
        return max(self.delivered - len(self.running), 0)

    def free_for_channel(self) -> int:
        """Return the prefetch count the present channel may have: the limit less what came by earlier channels."""
        return self.limit - sum(slot.generation != self.generation for slot in tuple(self.running.values()))
