"""Memory on this node's own disk, as an adapter of the port."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zlib import crc32

from workspace.errors import MemoryUnavailable
from workspace.memory.edge.measuring import folders_in, size_of
from workspace.memory.edge.process import EngineProcess
from workspace.memory.edge.wire import Op
from workspace.memory.memories import Filter, Found, Point, Stats, VectorSpace
from workspace.memory.store import MOST_AT_ONCE, MemoryPage, Size
from workspace.memory.vectors import Vector
from workspace.names import Collection, WorkspaceKey

PATIENCE: Final = 30.0
"""Seconds for what nobody waits for: enough until a collection is made, and mostly until an index is built."""


class QdrantEdgeStore:
    """Collections in `directory`, answered for by processes of this node's own. Implements `ContextStore`."""

    def __init__(self, directory: Path, *, engines: int = 1, patience: float = PATIENCE) -> None:
        """Make the store; nothing is started before it is needed.

        Args:
            directory: where collections are. Only one node at a time can have a collection open.
            engines: processes that the collections are spread over. One answers one request after the other.
            patience: seconds that a call waits, searches with a `timeout` of their own excepted.
        """
        self._directory = directory
        self._engines = [EngineProcess(directory) for _ in range(engines)]
        self._patience = patience

    @property
    def pids(self) -> list[int]:
        """The process ids of the engines that run."""
        return [engine.pid for engine in self._engines if engine.pid is not None]

    def check(self) -> None:
        """See the port."""
        for engine in self._engines:
            engine.call(Op.CHECK, None, timeout=self._patience)

    def ensure(self, collection: Collection, space: VectorSpace) -> None:
        """See the port."""
        self._call(Op.ENSURE, collection, space)

    def upsert(self, collection: Collection, space: VectorSpace, points: Sequence[Point]) -> None:
        """See the port."""
        if not points:
            self.ensure(collection, space)
        for start in range(0, len(points), _SENT_AT_ONCE):
            self._call(Op.UPSERT, collection, space, list(points[start : start + _SENT_AT_ONCE]))

    def search(
        self,
        collection: Collection,
        space: VectorSpace,
        vector: Vector,
        *,
        where: Filter,
        limit: int,
        min_score: float | None = None,
        timeout: float | None = None,
    ) -> list[Found]:
        """See the port."""
        found: list[Found] = self._call(Op.SEARCH, collection, space, vector, where, limit, timeout=timeout)
        # Of the nearest the first ones are kept, so it is the same here as in the engine, where index and score differ.
        return [each for each in found if min_score is None or each.score >= min_score]

    def page(
        self, collection: Collection, *, where: Filter, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> MemoryPage:
        """See the port."""
        items = self._call(Op.PAGE, collection, where, limit + 1, after, newest_first)
        return MemoryPage(items[:limit], items[limit - 1].id if len(items) > limit else None)

    def points(self, collection: Collection, *, limit: int, after: UUID | None = None) -> list[Point]:
        """See the port."""
        found: list[Point] = self._call(Op.POINTS, collection, limit, after)
        return found

    def oldest(self, collection: Collection, number: int) -> list[UUID]:
        """See the port."""
        found: list[UUID] = self._call(Op.OLDEST, collection, number)
        return found

    def count(self, collection: Collection, where: Filter) -> int:
        """See the port."""
        number: int = self._call(Op.COUNT, collection, where)
        return number

    def delete(self, collection: Collection, ids: Sequence[UUID]) -> None:
        """See the port."""
        for start in range(0, len(ids), MOST_AT_ONCE):
            self._call(Op.DELETE, collection, list(ids[start : start + MOST_AT_ONCE]))

    def delete_where(self, collection: Collection, where: Filter) -> int:
        """See the port."""
        number: int = self._call(Op.DELETE_WHERE, collection, where)
        return number

    def space(self, collection: Collection) -> VectorSpace | None:
        """See the port."""
        found: VectorSpace | None = self._call(Op.SPACE, collection)
        return found

    def stats(self, collection: Collection) -> Stats:
        """See the port."""
        found: Stats = self._call(Op.STATS, collection)
        return found

    def drop(self, collection: Collection) -> None:
        """See the port."""
        self._call(Op.DROP, collection)

    def collections(self, *keys: WorkspaceKey) -> list[Collection]:
        """See the port."""
        there = [key for key in keys if self._path(key).is_dir()]
        if not there:
            return []  # for which no engine need be started
        found: list[Collection] = self._engines[0].call(Op.COLLECTIONS, None, *there, timeout=self._patience)
        return sorted(found)

    def workspaces(self) -> list[WorkspaceKey]:
        """See the port."""
        if not self._directory.is_dir():
            return []
        found: list[WorkspaceKey] = self._engines[0].call(Op.WORKSPACES, None, timeout=self._patience)
        return found

    def opened(self) -> dict[Collection, int]:
        """See the port."""
        found: dict[Collection, int] = {}
        for engine in self._engines:
            if engine.pid is not None:  # one that was never started has nothing open
                found |= engine.call(Op.OPENED, None, timeout=self._patience)
        return found

    def size(self, *keys: WorkspaceKey) -> Size:
        """See the port."""
        paths = [self._path(key) for key in keys]
        return Size(sum(map(folders_in, paths)), sum(map(size_of, paths)))

    def release(self, *keys: WorkspaceKey) -> None:
        """See the port."""
        failed: MemoryUnavailable | None = None
        for engine in self._engines:
            if engine.pid is not None:
                try:
                    engine.call(Op.RELEASE, None, *keys, timeout=self._patience)
                except MemoryUnavailable as error:  # the others let go all the same
                    failed = error
        if failed is not None:
            raise failed

    def close(self) -> None:
        """See the port."""
        for engine in self._engines:
            engine.close()

    def _path(self, key: WorkspaceKey) -> Path:
        return self._directory / str(key.user_id) / str(key.project_id)

    def _call(self, op: Op, collection: Collection, *arguments: Any, timeout: float | None = None) -> Any:
        engine = self._engines[crc32(collection.name.encode()) % len(self._engines)]
        return engine.call(op, collection, *arguments, timeout=self._patience if timeout is None else timeout)


_SENT_AT_ONCE: Final = 64
"""Points in a message: half a megabyte of vectors, which an engine keeps in some ten milliseconds."""
