"""What is remembered: a text, what kind of interaction it comes from, and where from."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from workspace.memory.ids import made_at, milliseconds_of
from workspace.memory.vectors import Vector


class InteractionType(StrEnum):
    """What a memory tells of."""

    CONVERSATION = "conversation"  # a user's message and the agent's reply
    TASK = "task"  # a piece of a plan: the instruction, and what came of it
    TOOL = "tool"  # a call of a tool and its result
    NOTE = "note"  # written down on purpose


class Provenance(StrEnum):
    """Who wrote a memory. What a model reads again later is only as good as this."""

    RUN = "run"  # the system, after a run
    AGENT = "agent"  # the agent itself, with its tool
    USER = "user"  # the owner, through the API
    IMPORT = "import"  # a file


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One thing that an agent remembers."""

    id: UUID
    text: str
    interaction_type: InteractionType
    success: bool = True
    session_id: UUID | None = None
    run_id: UUID | None = None
    task_id: UUID | None = None
    provenance: Provenance = Provenance.RUN

    def __post_init__(self) -> None:
        milliseconds_of(self.id)

    @property
    def created_at(self) -> datetime:
        """When it was made: to the millisecond, as the id says."""
        return made_at(self.id)


class VectorSpace(NamedTuple):
    """What made the vectors of a collection: only those of one space can be compared."""

    model: str
    dimensions: int

    def __str__(self) -> str:
        return f"{self.model} ({self.dimensions} dimensions)"


class Point(NamedTuple):
    """A memory with the vector of its text."""

    memory: Memory
    vector: Vector


class Found(NamedTuple):
    """A memory that a search found."""

    memory: Memory
    score: float
    """The cosine of the angle to the query, at most 1."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which memories are meant; all conditions count together, and none at all means every memory."""

    interaction_type: InteractionType | None = None
    success: bool | None = None
    since: datetime | None = None
    """Made then or later."""
    until: datetime | None = None
    """Made before then."""
    session_id: UUID | None = None
    run_id: UUID | None = None


EVERYTHING = Filter()


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What a collection holds."""

    vectors: int
    bytes: int
    """What it takes on the disk; a server does not tell, so of one it is the size of the vectors."""
    success_rate: float | None
    """Of all memories, between 0 and 1; null without any."""
    by_type: dict[InteractionType, int]
    space: VectorSpace | None
    """Null where there is no collection yet."""
