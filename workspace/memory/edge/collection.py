"""A collection that the engine has open: its lock, its shard, and what is due to be done with it."""

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from workspace.errors import DimensionsChanged
from workspace.memory.edge.folders import Folder
from workspace.memory.edge.shard import Shard
from workspace.memory.memories import EVERYTHING, Filter, Found, InteractionType, Memory, Point, Stats, VectorSpace
from workspace.memory.vectors import BYTES_PER_DIMENSION, Vector, is_usable

MOST_LOGGED = 24_000_000
"""Bytes: what the engine would have to carry out again after a kill is kept below this."""
MOST_SCANNED = 16_000_000
"""Bytes of vectors without an index: a search scans that much in two or three milliseconds."""


class OpenCollection:
    """Answers for one collection. The names of its methods are those of `Op`."""

    def __init__(self, folder: Folder, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Open what is in a locked folder, which belongs to this object from then on.

        Raises:
            ShardInUse: another process has the shard open.
            ShardBroken: it cannot be opened.
        """
        self._clock = clock
        self._folder = folder
        try:
            self._space = folder.space()
            self._shard = Shard.open(folder.shard, self._space.dimensions)
            folder.remove_leftovers()
        except BaseException:
            folder.unlock()
            raise
        self.used_at = clock()
        self._logged = 0
        self.dirty_since: float | None = None
        self._scanned_after_build = 0

    @property
    def folder(self) -> Folder:
        """Where it is."""
        return self._folder

    def pinned(self) -> int:
        """Return the bytes of memory that its vectors take for sure: one for each number."""
        return self.vectors() * self._space.dimensions

    def vectors(self) -> int:
        """Return about how many memories there are, at once."""
        return self._shard.points_count()

    def close(self) -> Folder:
        """Write everything to its place, and return the folder, still locked."""
        self._shard.close()
        return self._folder

    def flush(self) -> None:
        """Write everything to its place."""
        self._shard.flush()
        self._logged, self.dirty_since = 0, None

    def wants_index(self) -> bool:
        """Whether so much was added since the last build that another one is worth its time."""
        return self._shard.unindexed_bytes() - self._scanned_after_build >= MOST_SCANNED

    def was_built(self) -> None:
        """Remember what the build left without an index, so that it is not tried again for nothing."""
        self._scanned_after_build = self._shard.unindexed_bytes()

    def ensure(self, space: VectorSpace) -> None:
        """Agree to a space.

        Raises:
            DimensionsChanged: it is another one.
        """
        if space != self._space:
            raise DimensionsChanged(expected=self._space, got=space)

    def upsert(self, space: VectorSpace, points: Sequence[Point]) -> None:
        """Keep points.

        Raises:
            DimensionsChanged: they are of another space.
            ValueError: a vector is none.
        """
        self.ensure(space)
        # What the engine refuses it has already written to its log, and would meet again at each opening.
        for point in points:
            _check(point.vector, space)
        self._shard.upsert(points)
        self._note(sum(len(point.vector) * BYTES_PER_DIMENSION + 4 * len(point.memory.text) for point in points))

    def search(self, space: VectorSpace, vector: Vector, where: Filter, limit: int) -> list[Found]:
        """Return the nearest memories.

        Raises:
            DimensionsChanged: the vector is of another space.
            ValueError: it is none.
        """
        self.ensure(space)
        _check(vector, space)
        return self._shard.search(vector, where, limit)

    def page(self, where: Filter, limit: int, after: UUID | None, newest_first: bool) -> list[Memory]:
        """Return memories in the order of their ids."""
        return self._shard.page(where, limit, after, newest_first)

    def points(self, limit: int, after: UUID | None) -> list[Point]:
        """Return memories with their vectors, oldest first."""
        return self._shard.points(limit, after)

    def oldest(self, number: int) -> list[UUID]:
        """Return the ids of the oldest memories."""
        return self._shard.oldest(number)

    def count(self, where: Filter) -> int:
        """Return how many memories there are."""
        return self._shard.count(where)

    def delete(self, ids: Sequence[UUID]) -> None:
        """Forget some memories."""
        self._shard.delete(ids)
        self._note(16 * len(ids))

    def delete_where(self, where: Filter) -> int:
        """Forget all that a filter means, and return how many these were."""
        number = self._shard.count(where)
        self._shard.delete_where(where)
        self._note(1_000)
        return number

    def space(self) -> VectorSpace:
        """Return what the collection was made with."""
        return self._space

    def stats(self) -> Stats:
        """Return what the collection holds."""
        total = self._shard.count(EVERYTHING)
        return Stats(
            vectors=total,
            bytes=self._folder.size(),
            success_rate=self._shard.count(Filter(success=True)) / total if total else None,
            by_type={kind: self._shard.count(Filter(interaction_type=kind)) for kind in InteractionType},
            space=self._space,
        )

    def _note(self, size: int) -> None:
        """Count what was written, and cut the log in time."""
        self._logged += size
        if self.dirty_since is None:
            self.dirty_since = self._clock()
        if self._logged >= MOST_LOGGED:
            self.flush()


def _check(vector: Vector, space: VectorSpace) -> None:
    if not is_usable(vector, space.dimensions):
        raise ValueError(f"no vector of {space}")
