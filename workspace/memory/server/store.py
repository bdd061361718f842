"""The port's adapter."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from qdrant_client import QdrantClient, models

from workspace.errors import DimensionsChanged, MemoryUnavailable
from workspace.memory.memories import EVERYTHING, Filter, Found, InteractionType, Point, Stats, VectorSpace
from workspace.memory.ownership import Standing, standing
from workspace.memory.payload import of_payload, to_payload
from workspace.memory.server.calls import Missing, called, client_of, whole
from workspace.memory.server.collections import KNOWN_FOR, Collections
from workspace.memory.server.filters import condition
from workspace.memory.server.records import Records
from workspace.memory.store import MOST_AT_ONCE, MemoryPage, Size
from workspace.memory.vectors import BYTES_PER_DIMENSION, Vector, is_usable, vector_of
from workspace.names import Collection, WorkspaceKey

SENT_AT_ONCE: Final = 256
"""Points in a request: at 1536 dimensions some 8 MB of JSON; a server takes 32."""
LOOK_PATIENCE: Final = 2.0
"""Seconds that a search waits to be told what a collection is: the server is asked that in no time at all, and a run
waits for the search."""
_SEARCH: Final = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0))


class QdrantServerStore:
    """Collections of a Qdrant server. Implements `ContextStore`."""

    def __init__(
        self,
        client: QdrantClient,
        *,
        hasty: QdrantClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what it needs.

        Args:
            client: of the server.
            hasty: another one, which waits no longer than a search may; what a collection is can be asked with no
                time limit of its own.
            clock: seconds that only grow.
        """
        self._client = client
        self._hasty = hasty or client
        self._collections = Collections(client, hasty=self._hasty, clock=clock)
        self._records = Records(client, self._collections)

    @classmethod
    def at(cls, url: str, *, api_key: str, timeout: float) -> "QdrantServerStore":
        """Return a store that talks to `url`; nothing connects before it is needed.

        Args:
            url: as in `http://127.0.0.1:6333`.
            api_key: empty where the server asks for none.
            timeout: seconds for a request.
        """
        hasty = client_of(url, api_key, timeout=min(timeout, LOOK_PATIENCE))
        return cls(client_of(url, api_key, timeout=timeout), hasty=hasty)

    def check(self) -> None:
        """See the port."""
        called(self._client.collection_exists, "check")  # unlike the server's root, it asks for the key

    def ensure(self, collection: Collection, space: VectorSpace) -> None:
        """See the port."""
        known = self._collections.look(collection)
        if known is None:
            self._collections.make(collection, space)
            known = self._collections.look(collection)
        if known is not None and known.space != space:
            raise DimensionsChanged(expected=known.space, got=space)

    def upsert(self, collection: Collection, space: VectorSpace, points: Sequence[Point]) -> None:
        """See the port."""
        for point in points:
            _check(point.vector, space)
        self.ensure(collection, space)
        for start in range(0, len(points), SENT_AT_ONCE):
            part = [
                models.PointStruct(
                    id=str(point.memory.id), vector=point.vector.tolist(), payload=to_payload(point.memory)
                )
                for point in points[start : start + SENT_AT_ONCE]
            ]
            try:
                called(self._client.upsert, collection.name, part, wait=True)
            except Missing:  # another process removed it meanwhile
                self.ensure(collection, space)
                called(self._client.upsert, collection.name, part, wait=True)

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
        _check(vector, space)
        until = time.monotonic() + timeout if timeout is not None else math.inf
        known = self._collections.look(collection, at_most=KNOWN_FOR, hasty=True)
        if known is None:
            return []
        if known.space != space:
            raise DimensionsChanged(expected=known.space, got=space)
        left = until - time.monotonic()
        if left <= 0:
            raise MemoryUnavailable("There was no time left to search.")
        response = self._collections.asked(
            collection,
            None,
            self._client.query_points,
            query=vector.tolist(),
            query_filter=condition(where),
            search_params=_SEARCH,
            limit=limit,
            with_payload=True,
            timeout=whole(left) if timeout is not None else None,
        )
        found = [Found(of_payload(hit.id, hit.payload), hit.score) for hit in response.points] if response else []
        return [each for each in found if min_score is None or each.score >= min_score]

    def page(
        self, collection: Collection, *, where: Filter, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> MemoryPage:
        """See the port."""
        if newest_first:
            records = self._records.newest(collection, where, limit + 1, after)
        else:
            records = self._records.scroll(collection, limit + 1, after, scroll_filter=condition(where))
        items = [of_payload(record.id, record.payload) for record in records]
        return MemoryPage(items[:limit], items[limit - 1].id if len(items) > limit else None)

    def points(self, collection: Collection, *, limit: int, after: UUID | None = None) -> list[Point]:
        """See the port."""
        records = self._records.scroll(collection, limit, after, with_vectors=True)
        return [Point(of_payload(record.id, record.payload), _vector_of(record)) for record in records]

    def oldest(self, collection: Collection, number: int) -> list[UUID]:
        """See the port."""
        return [UUID(str(record.id)) for record in self._records.scroll(collection, number, None, with_payload=False)]

    def count(self, collection: Collection, where: Filter) -> int:
        """See the port."""
        counted = self._collections.asked(
            collection, None, self._client.count, count_filter=condition(where), exact=True
        )
        return counted.count if counted is not None else 0

    def delete(self, collection: Collection, ids: Sequence[UUID]) -> None:
        """See the port."""
        for start in range(0, len(ids), MOST_AT_ONCE):
            chosen: list[Any] = [str(id_) for id_ in ids[start : start + MOST_AT_ONCE]]
            self._collections.changed(collection, self._client.delete, models.PointIdsList(points=chosen), wait=True)

    def delete_where(self, collection: Collection, where: Filter) -> int:
        """See the port."""
        number = self.count(collection, where)
        meant = models.FilterSelector(filter=condition(where) or models.Filter())
        self._collections.changed(collection, self._client.delete, meant, wait=True)
        return number

    def space(self, collection: Collection) -> VectorSpace | None:
        """See the port."""
        known = self._collections.look(collection, at_most=KNOWN_FOR)
        return known.space if known is not None else None

    def stats(self, collection: Collection) -> Stats:
        """See the port."""
        space = self.space(collection)
        total = self.count(collection, EVERYTHING)
        return Stats(
            vectors=total,
            bytes=total * space.dimensions * BYTES_PER_DIMENSION if space is not None else 0,
            success_rate=self.count(collection, Filter(success=True)) / total if total else None,
            by_type={kind: self.count(collection, Filter(interaction_type=kind)) for kind in InteractionType},
            space=space,
        )

    def drop(self, collection: Collection) -> None:
        """See the port."""
        agent_id = self._collections.agent_id(collection.name)
        if agent_id is not None and standing(collection.agent_id, agent_id) is not Standing.OVERTAKEN:
            self._collections.remove(collection.name)

    def collections(self, *keys: WorkspaceKey) -> list[Collection]:
        """See the port."""
        ours = self._collections.listed() if keys else {}
        named = {name: self._collections.agent_id(name) for name, key in ours.items() if key in keys}
        return sorted(Collection.of_name(name, agent_id) for name, agent_id in named.items() if agent_id is not None)

    def workspaces(self) -> list[WorkspaceKey]:
        """See the port."""
        return sorted(set(self._collections.listed().values()))

    def opened(self) -> dict[Collection, int]:
        """See the port."""
        return {}

    def size(self, *keys: WorkspaceKey) -> Size:
        """See the port."""
        return Size(sum(key in keys for key in self._collections.listed().values()) if keys else 0, 0)

    def release(self, *keys: WorkspaceKey) -> None:
        """See the port. A server has it open for every node."""

    def close(self) -> None:
        """See the port."""
        self._client.close()
        self._hasty.close()


def _vector_of(record: models.Record) -> Vector:
    assert isinstance(record.vector, list)  # a collection of ours has one vector a point, without a name
    return vector_of(record.vector)  # type: ignore[arg-type]


def _check(vector: Vector, space: VectorSpace) -> None:
    if not is_usable(vector, space.dimensions):
        raise ValueError(f"no vector of {space}")
