"""The one home of `qdrant_edge`: one open collection. Only one thread may use it, and only one process can open it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import qdrant_edge as qdrant

from workspace.memory import payload as fields
from workspace.memory.conditions import conditions
from workspace.memory.first_pages import newest_page
from workspace.memory.memories import EVERYTHING, Filter, Found, Memory, Point
from workspace.memory.payload import of_payload, to_payload
from workspace.memory.vectors import BYTES_PER_DIMENSION, Vector, vector_of

INDEXED_FROM: Final = 8_000
"""Kilobytes of vectors from which a segment gets an index; less is scanned in about a millisecond."""
LARGEST_SEGMENT: Final = 24_000
"""Kilobytes of vectors: what bounds the time that one build of an index takes."""

_INDEXES: Final[dict[str, qdrant.PayloadSchemaType]] = {
    fields.INTERACTION_TYPE: qdrant.PayloadSchemaType.Keyword,
    fields.OUTCOME: qdrant.PayloadSchemaType.Keyword,
    fields.CREATED_AT: qdrant.PayloadSchemaType.Integer,
    fields.SESSION_ID: qdrant.PayloadSchemaType.Uuid,
    fields.RUN_ID: qdrant.PayloadSchemaType.Uuid,
}
_SEARCH: Final = qdrant.SearchParams(
    # The index compares vectors of 8 bits; the exact ones of twice as many candidates decide.
    quantization=qdrant.QuantizationSearchParams(rescore=True, oversampling=2.0)
)
_OF_MANY: Final = qdrant.SearchParams(
    hnsw_ef=24, quantization=qdrant.QuantizationSearchParams(rescore=True, oversampling=1.0)
)
"""Where each segment has few of the nearest ones, it need not be searched as thoroughly: with 28 segments of 10,700
vectors this takes two thirds of the CPU time, and recall is 1.000 as before."""
MANY_SEGMENTS: Final = 10
_IN_USE: Final = "WouldBlock"


class ShardInUse(Exception):
    """Another process has the collection open."""


class ShardBroken(Exception):
    """The engine failed."""


class Shard:
    """A collection's points on the disk."""

    def __init__(self, shard: qdrant.EdgeShard, dimensions: int) -> None:
        self._shard = shard
        self._dimensions = dimensions
        info: qdrant.ShardInfo = _called(shard.info)
        self._segments = info.segments_count
        """When it was opened: a build, which alone makes many of them, opens it anew."""

    @classmethod
    def create(cls, path: Path, dimensions: int) -> "Shard":
        """Make an empty one in a directory that must not exist.

        Raises:
            ShardBroken: the engine failed.
        """
        path.mkdir()
        shard = cls(_called(qdrant.EdgeShard.create, str(path), _config(dimensions)), dimensions)
        for name, kind in _INDEXES.items():
            shard._update(qdrant.UpdateOperation.create_field_index(name, kind))
        return shard

    @classmethod
    def open(cls, path: Path, dimensions: int) -> "Shard":
        """Open what is there, and carry out again what was confirmed and had not reached its place.

        Raises:
            ShardInUse: another process has it open.
            ShardBroken: the engine failed.
        """
        return cls(_called(qdrant.EdgeShard.load, str(path), _config(dimensions)), dimensions)

    def close(self) -> None:
        """Write everything to its place and let go of the files."""
        _called(self._shard.close)

    def flush(self) -> None:
        """Write everything to its place, after which the log can be cut."""
        _called(self._shard.flush)

    def optimize(self) -> None:
        """Build the indexes that are due, and rewrite what is mostly deleted. Takes seconds to minutes."""
        _called(self._shard.optimize)

    def points_count(self) -> int:
        """Return about how many points there are, at once."""
        info: qdrant.ShardInfo = _called(self._shard.info)
        return info.points_count

    def unindexed_bytes(self) -> int:
        """Return how much a search has to scan."""
        info: qdrant.ShardInfo = _called(self._shard.info)
        return max(0, info.points_count - info.indexed_vectors_count) * self._dimensions * BYTES_PER_DIMENSION

    def upsert(self, points: Sequence[Point]) -> None:
        """Keep points. Once this has returned, the end of the process loses none of them."""
        made = [qdrant.Point(point.memory.id, point.vector.tolist(), to_payload(point.memory)) for point in points]
        self._update(qdrant.UpdateOperation.upsert_points(made))

    def search(self, vector: Vector, where: Filter, limit: int) -> list[Found]:
        """Return the nearest memories, the nearest first."""
        request = qdrant.QueryRequest(
            query=qdrant.Query.Nearest(vector.tolist()),
            limit=limit,
            filter=_condition(where),
            with_payload=True,
            params=_OF_MANY if self._segments >= MANY_SEGMENTS else _SEARCH,
        )
        return [Found(of_payload(hit.id, hit.payload), hit.score) for hit in _called(self._shard.query, request)]

    def page(self, where: Filter, limit: int, after: UUID | None, newest_first: bool) -> list[Memory]:
        """Return memories in the order of their ids."""
        if not newest_first:
            return [of_payload(record.id, record.payload) for record in self._scroll(where, limit, after)]
        ids = newest_page(
            limit,
            after,
            latest=lambda before, number: self._latest(where, before, number),
            same_time=lambda moment: self._ids(_at(where, moment)),
        )
        records = _called(self._shard.retrieve, ids, with_payload=True, with_vector=False)
        found = {UUID(str(record.id)): record for record in records}
        return [of_payload(id_, found[id_].payload) for id_ in ids if id_ in found]

    def points(self, limit: int, after: UUID | None) -> list[Point]:
        """Return memories with their vectors, oldest first."""
        records = self._scroll(EVERYTHING, limit, after, with_vector=True)
        return [Point(of_payload(record.id, record.payload), vector_of(record.vector)) for record in records]

    def oldest(self, number: int) -> list[UUID]:
        """Return the ids of the oldest memories."""
        return [UUID(str(record.id)) for record in self._scroll(EVERYTHING, number, None, with_payload=False)]

    def count(self, where: Filter) -> int:
        """Return how many memories there are."""
        number: int = _called(self._shard.count, qdrant.CountRequest(exact=True, filter=_condition(where)))
        return number

    def delete(self, ids: Sequence[UUID]) -> None:
        """Forget some memories."""
        self._update(qdrant.UpdateOperation.delete_points(list(ids)))

    def delete_where(self, where: Filter) -> None:
        """Forget all that a filter means."""
        condition = _condition(where) or qdrant.Filter()
        self._update(qdrant.UpdateOperation.delete_points_by_filter(condition))

    def _update(self, operation: qdrant.UpdateOperation) -> None:
        _called(self._shard.update, operation)

    def _scroll(
        self, where: Filter, limit: int, after: UUID | None, *, with_payload: bool = True, with_vector: bool = False
    ) -> list[Any]:
        """Return records in the order of their ids."""
        request = qdrant.ScrollRequest(
            offset=UUID(int=after.int + 1) if after is not None else None,
            limit=limit,
            filter=_condition(where),
            with_payload=with_payload,
            with_vector=with_vector,
        )
        records, _ = _called(self._shard.scroll, request)
        return list(records)

    def _latest(self, where: Filter, before: int | None, number: int) -> list[tuple[int, UUID]]:
        """Return the times and ids of the latest memories that were made before a time, the latest first."""
        request = qdrant.ScrollRequest(
            limit=number,
            filter=_condition(where, before=before),
            with_payload=qdrant.PayloadSelector.Include([fields.CREATED_AT]),
            order_by=qdrant.OrderBy(fields.CREATED_AT, qdrant.Direction.Desc),
        )
        records, _ = _called(self._shard.scroll, request)
        return [(record.payload[fields.CREATED_AT], UUID(str(record.id))) for record in records]

    def _ids(self, condition: qdrant.Filter) -> list[UUID]:
        """Return the ids of all memories that a condition means."""
        request = qdrant.ScrollRequest(limit=_NO_LIMIT, filter=condition, with_payload=False)
        records, _ = _called(self._shard.scroll, request)
        return [UUID(str(record.id)) for record in records]


_NO_LIMIT: Final = 2**31


def _config(dimensions: int) -> qdrant.EdgeConfig:
    return qdrant.EdgeConfig(
        vectors=qdrant.EdgeVectorParams(
            size=dimensions,
            distance=qdrant.Distance.Cosine,
            # Read through the page cache. `Cached` would read 32 MB for each collection that is opened, however small.
            memory=qdrant.Memory.Cold,
        ),
        hnsw_config=qdrant.HnswIndexConfig(m=16, ef_construct=64, full_scan_threshold=1_000),
        # In memory: mapped and cached it is read page by page when a collection is opened, which took ten seconds.
        quantization_config=qdrant.ScalarQuantizationConfig(
            type=qdrant.ScalarType.Int8, quantile=0.99, memory=qdrant.Memory.Pinned
        ),
        optimizers=qdrant.EdgeOptimizersConfig(
            default_segment_number=1,
            indexing_threshold=INDEXED_FROM,
            max_segment_size=LARGEST_SEGMENT,
            deleted_threshold=0.5,  # half of a segment deleted costs a search less than rewriting it five times
        ),
        payload_memory=qdrant.Memory.Cold,
        max_search_threads=1,  # every open collection has this many threads of its own
    )


def _condition(where: Filter, *, before: int | None = None) -> qdrant.Filter | None:
    """Return a filter as the engine wants it; `None` if it means everything."""
    must = _must(where, before=before)
    return qdrant.Filter(must=must) if must else None


def _must(where: Filter, *, before: int | None = None) -> list[Any]:
    asked = conditions(where, before=before)
    must: list[Any] = [_equals(name, value) for name, value in asked.equal.items()]
    if asked.since is not None or asked.before is not None:
        span = qdrant.RangeFloat(gte=asked.since, lt=asked.before)
        must.append(qdrant.FieldCondition(fields.CREATED_AT, range=span))
    return must


def _at(where: Filter, moment: int) -> qdrant.Filter:
    """Return the filter of what was made in one millisecond."""
    return qdrant.Filter(must=[*_must(where), _equals(fields.CREATED_AT, moment)])


def _equals(name: str, value: str | int) -> qdrant.FieldCondition:
    return qdrant.FieldCondition(name, match=qdrant.MatchValue(value))


def _called(method: Any, *arguments: Any, **options: Any) -> Any:
    """Call the engine, all of whose errors are plain exceptions that tell apart by their text alone."""
    try:
        return method(*arguments, **options)
    except Exception as error:
        if _IN_USE in str(error):
            raise ShardInUse(str(error)) from error
        raise ShardBroken(str(error)) from error
