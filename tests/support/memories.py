"""Memories for tests: made points, and what a store should answer, worked out in plain Python."""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from models import new_id
from workspace.memory.ids import memory_id
from workspace.memory.memories import Filter, InteractionType, Memory, Point, VectorSpace
from workspace.memory.vectors import Vector, vector_of
from workspace.names import Collection, WorkspaceKey

SPACE = VectorSpace("a-model", 8)
START = datetime(2026, 1, 1, tzinfo=UTC)


def new_collection(agent_name: str = "coder", key: WorkspaceKey | None = None) -> Collection:
    """Return a collection that nobody has seen before."""
    return Collection(key or WorkspaceKey(uuid4(), uuid4()), agent_name, new_id())


def vector(*values: float, dimensions: int = SPACE.dimensions) -> Vector:
    """Return a vector that begins with some values and goes on with zeros."""
    return vector_of([*values, *[0.0] * (dimensions - len(values))])


def random_vector(seed: object, dimensions: int = SPACE.dimensions) -> Vector:
    """Return the same vector for the same seed."""
    chance = random.Random(str(seed))
    return vector_of(chance.gauss(0, 1) for _ in range(dimensions))


def memory(number: int = 0, *, at: datetime | None = None, **fields: Any) -> Memory:
    """Return a memory, made a minute after the one of the number before."""
    values: dict[str, Any] = {
        "id": memory_id(at or START + timedelta(minutes=number), str(number)),
        "text": f"memory {number}",
        "interaction_type": InteractionType.CONVERSATION,
        **fields,
    }
    return Memory(**values)


def point(number: int = 0, *, values: Vector | None = None, **fields: Any) -> Point:
    """Return a memory with a vector."""
    return Point(memory(number, **fields), values if values is not None else random_vector(number))


def matches(where: Filter, made: Memory) -> bool:
    """Whether a filter means a memory."""
    wanted = [
        (where.interaction_type, made.interaction_type),
        (where.success, made.success),
        (where.session_id, made.session_id),
        (where.run_id, made.run_id),
    ]
    return (
        all(asked is None or asked == there for asked, there in wanted)
        and (where.since is None or made.created_at >= where.since)
        and (where.until is None or made.created_at < where.until)
    )


def cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of the angle between two vectors; 0 if one has no direction."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0


def nearest(points: Sequence[Point], query: Vector, where: Filter) -> list[tuple[float, Memory]]:
    """Return all that a filter means with their scores, the nearest first."""
    scored = [(cosine(each.vector, query), each.memory) for each in points if matches(where, each.memory)]
    return sorted(scored, key=lambda pair: (-pair[0], pair[1].id))
