"""A memory as a line of JSON: what an export writes, and an import reads.

    {"id": "...", "created_at": "2026-01-31T12:00:00.123+00:00", "text": "...", "interaction_type": "note",
     "success": true, "session_id": null, "run_id": null, "task_id": null, "provenance": "run",
     "embedding": {"model": "...", "dimensions": 1536, "vector": "base64 of 32-bit floats"}}

Of an import only `text` is required. Without an id, `created_at` and the text make one, so that the same line makes
the same memory again; without either it is made now.
"""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from workspace import strict_json
from workspace.errors import InvalidInput
from workspace.memory.ids import memory_id, milliseconds_of
from workspace.memory.memories import InteractionType, Memory, Point, Provenance, VectorSpace
from workspace.memory.texts import MOST_CHARACTERS, stored
from workspace.memory.vectors import Vector, from_text, is_usable, to_text

LONGEST_LINE = 1_000_000
"""Bytes: a text of the longest kind with a vector of 4096 dimensions takes a tenth."""


class ExportedVector(BaseModel):
    """A vector, and what made it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(max_length=500)
    dimensions: int = Field(ge=1, le=65_536)
    vector: str


class ExportedMemory(BaseModel):
    """One line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: UUID | None = None
    created_at: AwareDatetime | None = None
    text: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    interaction_type: InteractionType = InteractionType.NOTE
    success: bool = Field(default=True, strict=True)
    session_id: UUID | None = None
    run_id: UUID | None = None
    task_id: UUID | None = None
    provenance: Provenance | None = None
    embedding: ExportedVector | None = None


_NO_SPACE = VectorSpace("", 0)


class Imported(NamedTuple):
    """What a line holds."""

    memory: Memory
    vector: Vector | None
    """Null where the line has none of the space that is asked for."""


def to_line(point: Point, space: VectorSpace) -> str:
    """Return a memory as a line, with its end."""
    memory = point.memory
    line = ExportedMemory(
        id=memory.id,
        created_at=memory.created_at,
        text=memory.text,
        interaction_type=memory.interaction_type,
        success=memory.success,
        session_id=memory.session_id,
        run_id=memory.run_id,
        task_id=memory.task_id,
        provenance=memory.provenance,
        embedding=ExportedVector(model=space.model, dimensions=space.dimensions, vector=to_text(point.vector)),
    )
    return line.model_dump_json() + "\n"


def of_line(line: str | bytes, space: VectorSpace, *, now: datetime | None = None) -> Imported:
    """Read a line. Where a memory comes from is not believed: it is an import.

    Args:
        line: one line, with or without its end.
        space: the vectors of which can be used as they are.
        now: when memories that do not tell it were made.

    Raises:
        InvalidInput: the line is none.
    """
    if len(line) > LONGEST_LINE:
        raise InvalidInput("The line is too long.")
    try:
        read = ExportedMemory.model_validate(strict_json.loads(line.encode() if isinstance(line, str) else line))
        id_ = read.id or memory_id(read.created_at or now or datetime.now(UTC), "import", read.text)
        milliseconds_of(id_)
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, mistake["loc"]))
        raise InvalidInput(f"{place}: {mistake['msg']}" if place else mistake["msg"]) from error
    except (ValueError, OverflowError) as error:
        raise InvalidInput(str(error)) from error
    memory = Memory(
        id=id_,
        text=stored(read.text),
        interaction_type=read.interaction_type,
        success=read.success,
        session_id=read.session_id,
        run_id=read.run_id,
        task_id=read.task_id,
        provenance=Provenance.IMPORT,
    )
    return Imported(memory, _vector(read.embedding, space))


def check_line(line: bytes) -> None:
    """Find out whether a line is a memory, whatever its vector.

    Raises:
        InvalidInput: it is none.
    """
    of_line(line, _NO_SPACE)


def _vector(embedding: ExportedVector | None, space: VectorSpace) -> Vector | None:
    if embedding is None or VectorSpace(embedding.model, embedding.dimensions) != space:
        return None
    try:
        vector = from_text(embedding.vector)
    except ValueError:
        return None
    return vector if is_usable(vector, space.dimensions) else None
