"""What agents remember, over HTTP."""

from datetime import UTC, datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field

from api.schemas.common import RequestModel, ResponseModel, Text
from workspace.errors import InvalidInput
from workspace.memory.door import Pruned, Restored
from workspace.memory.ids import milliseconds_of
from workspace.memory.memories import Filter, Found, InteractionType, Memory, Provenance, Stats
from workspace.memory.texts import MOST_CHARACTERS
from workspace.paging import DEFAULT_LIMIT, MAX_LIMIT

MOST_ADDED = 100
"""Memories of one request."""
MOST_KEPT = 2**31 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC: at the ends of the calendar another zone can lie beyond them."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies beyond the calendar") from error


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
MemoryText = Annotated[Text, Field(min_length=1, max_length=MOST_CHARACTERS), AfterValidator(_not_blank)]


class _Conditions(RequestModel):
    """Which memories are meant; all conditions count together."""

    interaction_type: InteractionType | None = None
    success: bool | None = None
    since: Moment | None = Field(None, description="made then or later")
    until: Moment | None = Field(None, description="made before then")
    session_id: UUID | None = None
    run_id: UUID | None = None

    def filter(self) -> Filter:
        """Return it as the memory takes it."""
        return Filter(
            interaction_type=self.interaction_type,
            success=self.success,
            since=self.since,
            until=self.until,
            session_id=self.session_id,
            run_id=self.run_id,
        )


class MemoryQuery(_Conditions):
    """Which memories are wanted, and which part of them. The newest come first."""

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(None, max_length=64, description="`next_cursor` of the part before")

    def after(self) -> UUID | None:
        """Return the memory after which to go on.

        Raises:
            InvalidInput: the cursor is none of such a list.
        """
        if self.cursor is None:
            return None
        try:
            after = UUID(self.cursor)
            milliseconds_of(after)
        except ValueError as error:
            raise InvalidInput("The cursor is not one of this list.") from error
        return after


class MemorySearch(_Conditions):
    """What is looked for."""

    query: MemoryText
    min_score: float | None = Field(None, ge=-1, le=1, description="null: `MEMORY_MIN_SCORE`")
    limit: int | None = Field(None, ge=1, le=MAX_LIMIT, description="null: `MEMORY_TOP_K`")


class NewMemory(RequestModel):
    """Something to remember."""

    text: MemoryText
    interaction_type: InteractionType = InteractionType.NOTE
    success: bool = True
    session_id: UUID | None = None
    run_id: UUID | None = None
    created_at: Annotated[Moment, Field(ge=_EPOCH)] | None = Field(None, description="null: now")


class NewMemories(RequestModel):
    """What is to be remembered, all at once."""

    items: list[NewMemory] = Field(min_length=1, max_length=MOST_ADDED)


class ForgetQuery(RequestModel):
    """What is to be forgotten; without either, all of it."""

    session_id: UUID | None = Field(None, description="what comes from this session only")
    run_id: UUID | None = Field(None, description="what comes from this run only")


class PruneRequest(RequestModel):
    """What is to be forgotten by age or by number, one of them at least."""

    older_than: Moment | None = Field(None, description="what was made before then")
    keep: int | None = Field(None, ge=0, le=MOST_KEPT, description="of what is left, all but so many of the newest")
    dry_run: bool = Field(False, description="only say what would be forgotten")


class MemoryResponse(ResponseModel):
    """One thing that an agent remembers."""

    id: UUID
    text: str
    interaction_type: InteractionType
    success: bool
    session_id: UUID | None
    run_id: UUID | None
    task_id: UUID | None
    provenance: Provenance
    created_at: datetime

    @classmethod
    def of(cls, memory: Memory) -> Self:
        """Return the response for a memory."""
        return cls.model_validate(memory, from_attributes=True)


class FoundResponse(MemoryResponse):
    """A memory that a search found."""

    score: float = Field(description="how like the query it is, at most 1")

    @classmethod
    def of_found(cls, found: Found) -> Self:
        """Return the response for what was found."""
        return cls(**MemoryResponse.of(found.memory).model_dump(), score=found.score)


class SearchResponse(ResponseModel):
    """What a search found, the most like its query first."""

    items: list[FoundResponse]


class AddedResponse(ResponseModel):
    """What is remembered now, in the order in which it was given."""

    items: list[MemoryResponse]


class ForgottenResponse(ResponseModel):
    """What was forgotten."""

    deleted: int


class PrunedResponse(ResponseModel):
    """What was forgotten, or would be."""

    by_age: int
    by_count: int
    dry_run: bool

    @classmethod
    def of(cls, pruned: Pruned, *, dry_run: bool) -> Self:
        """Return the response for what was done."""
        return cls(by_age=pruned.by_age, by_count=pruned.by_count, dry_run=dry_run)


class EmbeddingResponse(ResponseModel):
    """What made the vectors."""

    model: str
    dimensions: int


class MemoryStatsResponse(ResponseModel):
    """What an agent's memory holds."""

    vectors: int
    bytes: int = Field(description="on the disk; of a Qdrant server the size of the vectors")
    success_rate: float | None = Field(description="of all memories, 0 to 1")
    by_type: dict[InteractionType, int]
    embedding: EmbeddingResponse | None = Field(description="null before the first memory, and after all were cleared")

    @classmethod
    def of(cls, stats: Stats) -> Self:
        """Return the response for counts."""
        space = stats.space
        return cls(
            vectors=stats.vectors,
            bytes=stats.bytes,
            success_rate=stats.success_rate,
            by_type=stats.by_type,
            embedding=EmbeddingResponse(model=space.model, dimensions=space.dimensions) if space else None,
        )


class RestoredResponse(ResponseModel):
    """What an import did."""

    stored: int
    embedded: int = Field(description="of these, the ones whose vectors had to be made anew")

    @classmethod
    def of(cls, restored: Restored) -> Self:
        """Return the response for what was kept."""
        return cls(stored=restored.stored, embedded=restored.embedded)
