"""Memory on a Qdrant server, as an adapter of the port: the one home of `qdrant_client`.

Importing it takes a second and 85 MB, gRPC included, so it is imported only where a server is named in the settings.
"""

import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NoReturn
from uuid import UUID

import structlog
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from workspace.errors import DimensionsChanged, MemoryUnavailable
from workspace.memory import payload as fields
from workspace.memory.conditions import conditions
from workspace.memory.first_pages import newest_page
from workspace.memory.memories import EVERYTHING, Filter, Found, InteractionType, Point, Stats, VectorSpace
from workspace.memory.payload import of_payload, to_payload
from workspace.memory.store import MOST_AT_ONCE, MemoryPage
from workspace.memory.vectors import BYTES_PER_DIMENSION, Vector, is_usable, vector_of
from workspace.names import Collection, WorkspaceKey

log = structlog.get_logger(__name__)

SENT_AT_ONCE: Final = 256
"""Points in a request: at 1536 dimensions some 8 MB of JSON; a server takes 32."""
KNOWN_FOR: Final = 30.0
"""Seconds until it is asked again what a collection was made with: another process may have made it anew."""

_MODEL = "embedding_model"
_AGENT = "agent_id"
_NOBODY = UUID(int=0)
"""Whose a collection is that does not tell: earlier than every agent."""
_INDEXES: Final[dict[str, models.PayloadSchemaType]] = {
    fields.INTERACTION_TYPE: models.PayloadSchemaType.KEYWORD,
    fields.OUTCOME: models.PayloadSchemaType.KEYWORD,
    fields.CREATED_AT: models.PayloadSchemaType.INTEGER,
    fields.SESSION_ID: models.PayloadSchemaType.UUID,
    fields.RUN_ID: models.PayloadSchemaType.UUID,
}
_SEARCH: Final = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0))


class _Missing(MemoryUnavailable):
    """The memory was removed at this moment."""


class _Exists(MemoryUnavailable):
    """The memory was made at this moment."""


class QdrantServerStore:
    """Collections of a Qdrant server. Implements `ContextStore`."""

    def __init__(self, client: QdrantClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._spaces: dict[Collection, tuple[VectorSpace, float]] = {}
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, url: str, *, api_key: str, timeout: float) -> "QdrantServerStore":
        """Return a store that talks to `url`; nothing connects before it is needed.

        Args:
            url: as in `http://127.0.0.1:6333`.
            api_key: empty where the server asks for none.
            timeout: seconds for a request.
        """
        with warnings.catch_warnings():
            # In a private network, as that of docker-compose.yml, a key without TLS is meant.
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
            client = QdrantClient(
                url=url,
                api_key=api_key or None,
                timeout=_whole(timeout),
                check_compatibility=False,  # a request when it is made, and a warning
                trust_env=False,  # a proxy has no business between a system and its database
            )
        return cls(client)

    def check(self) -> None:
        """See the port."""
        self._called(self._client.collection_exists, "check")  # unlike the server's root, it asks for the key

    def ensure(self, collection: Collection, space: VectorSpace) -> None:
        """See the port."""
        known = self.space(collection)
        if known is None:
            self._make(collection, space)
            known = self.space(collection)
        if known != space:
            raise DimensionsChanged(expected=known, got=space)

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
                self._called(self._client.upsert, collection.name, part, wait=True)
            except _Missing:  # another process removed it meanwhile
                self._forget(collection)
                self.ensure(collection, space)
                self._called(self._client.upsert, collection.name, part, wait=True)

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
        known = self.space(collection)
        if known is None:
            return []
        if known != space:
            raise DimensionsChanged(expected=known, got=space)
        response = self._asked(
            collection,
            None,
            self._client.query_points,
            query=vector.tolist(),
            query_filter=_condition(where),
            search_params=_SEARCH,
            limit=limit,
            with_payload=True,
            timeout=_whole(timeout) if timeout is not None else None,
        )
        found = [Found(of_payload(hit.id, hit.payload), hit.score) for hit in response.points] if response else []
        return [each for each in found if min_score is None or each.score >= min_score]

    def page(
        self, collection: Collection, *, where: Filter, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> MemoryPage:
        """See the port."""
        if newest_first:
            records = self._newest(collection, where, limit + 1, after)
        else:
            records = self._scroll(collection, limit + 1, after, scroll_filter=_condition(where))
        items = [of_payload(record.id, record.payload) for record in records]
        return MemoryPage(items[:limit], items[limit - 1].id if len(items) > limit else None)

    def points(self, collection: Collection, *, limit: int, after: UUID | None = None) -> list[Point]:
        """See the port."""
        records = self._scroll(collection, limit, after, with_vectors=True)
        return [Point(of_payload(record.id, record.payload), _vector_of(record)) for record in records]

    def oldest(self, collection: Collection, number: int) -> list[UUID]:
        """See the port."""
        return [UUID(str(record.id)) for record in self._scroll(collection, number, None, with_payload=False)]

    def count(self, collection: Collection, where: Filter) -> int:
        """See the port."""
        counted = self._asked(collection, None, self._client.count, count_filter=_condition(where), exact=True)
        return counted.count if counted is not None else 0

    def delete(self, collection: Collection, ids: Sequence[UUID]) -> None:
        """See the port."""
        for start in range(0, len(ids), MOST_AT_ONCE):
            chosen: list[Any] = [str(id_) for id_ in ids[start : start + MOST_AT_ONCE]]
            self._asked(collection, None, self._client.delete, models.PointIdsList(points=chosen), wait=True)

    def delete_where(self, collection: Collection, where: Filter) -> int:
        """See the port."""
        number = self.count(collection, where)
        condition = _condition(where) or models.Filter()
        self._asked(collection, None, self._client.delete, models.FilterSelector(filter=condition), wait=True)
        return number

    def space(self, collection: Collection) -> VectorSpace | None:
        """See the port."""
        with self._lock:
            known = self._spaces.get(collection)
        if known is not None and self._clock() < known[1]:
            return known[0]
        found = self._asked(collection, None, self._client.get_collection)
        if found is None:
            self._forget(collection)
            return None
        params, about = found.config.params.vectors, found.config.metadata or {}
        if not isinstance(params, models.VectorParams):
            raise MemoryUnavailable(f"The collection {collection.name} was not made by this system.")
        space = VectorSpace(str(about.get(_MODEL, "an unknown model")), params.size)
        with self._lock:
            self._spaces[collection] = (space, self._clock() + KNOWN_FOR)
        return space

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
        self._asked(collection, None, self._client.delete_collection)
        self._forget(collection)

    def collections(self, key: WorkspaceKey) -> list[Collection]:
        """See the port."""
        listed = self._called(self._client.get_collections)
        ours = (_key_of(each.name) for each in listed.collections)
        return sorted(Collection.of_name(name, self._agent_id(name)) for name, found in ours if found == key)

    def release(self, key: WorkspaceKey) -> None:
        """See the port. A server has it open for every node."""

    def close(self) -> None:
        """See the port."""
        self._client.close()

    def _make(self, collection: Collection, space: VectorSpace) -> None:
        """Make a collection; another process may do the same at this moment."""
        try:
            self._called(
                self._client.create_collection,
                collection.name,
                vectors_config=models.VectorParams(
                    size=space.dimensions, distance=models.Distance.COSINE, on_disk=True
                ),
                quantization_config=models.ScalarQuantization(
                    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
                ),
                on_disk_payload=True,
                metadata={_MODEL: space.model, _AGENT: str(collection.agent_id)},
            )
        except _Exists:
            log.info("memory_collection_exists", collection=collection.name)
        for name, kind in _INDEXES.items():  # also where it was made by one that came no further
            self._called(self._client.create_payload_index, collection.name, name, kind, wait=True)

    def _agent_id(self, name: str) -> UUID:
        """Return which agent a collection was made for."""
        try:
            found = self._called(self._client.get_collection, name)
            return UUID(str((found.config.metadata or {}).get(_AGENT)))
        except (_Missing, ValueError):
            return _NOBODY

    def _newest(self, collection: Collection, where: Filter, limit: int, after: UUID | None) -> list[models.Record]:
        ids = newest_page(
            limit,
            after,
            latest=lambda before, number: self._latest(collection, where, before, number),
            same_time=lambda moment: list(self._ids_at(collection, where, moment)),
        )
        if not ids:
            return []
        wanted = [str(id_) for id_ in ids]
        records = self._asked(collection, [], self._client.retrieve, ids=wanted, with_payload=True)
        found = {UUID(str(record.id)): record for record in records}
        return [found[id_] for id_ in ids if id_ in found]

    def _latest(self, collection: Collection, where: Filter, before: int | None, number: int) -> list[tuple[int, UUID]]:
        records, _ = self._asked(
            collection,
            ([], None),
            self._client.scroll,
            scroll_filter=_condition(where, before=before),
            limit=number,
            order_by=models.OrderBy(key=fields.CREATED_AT, direction=models.Direction.DESC),
            with_payload=[fields.CREATED_AT],
        )
        return [(record.payload[fields.CREATED_AT], UUID(str(record.id))) for record in records]

    def _ids_at(self, collection: Collection, where: Filter, moment: int) -> Iterator[UUID]:
        """Yield the ids of all that was made in one millisecond."""
        condition = models.Filter(must=[*_must(where), _equals(fields.CREATED_AT, moment)])
        after: UUID | None = None
        while records := self._scroll(collection, MOST_AT_ONCE, after, scroll_filter=condition, with_payload=False):
            yield from (UUID(str(record.id)) for record in records)
            after = UUID(str(records[-1].id))

    def _scroll(self, collection: Collection, limit: int, after: UUID | None, **options: Any) -> list[models.Record]:
        """Return records in the order of their ids."""
        offset = str(UUID(int=after.int + 1)) if after is not None else None
        found = self._asked(
            collection,
            ([], None),
            self._client.scroll,
            **{"offset": offset, "limit": limit, "with_payload": True, **options},
        )
        records: list[models.Record] = found[0]
        return records

    def _asked(self, collection: Collection, missing: Any, function: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Ask about a collection; returns `missing` if there is none."""
        try:
            return self._called(function, collection.name, *args, **kw)
        except _Missing:
            return missing

    def _forget(self, collection: Collection) -> None:
        with self._lock:
            self._spaces.pop(collection, None)

    def _called(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the client, whose errors are many.

        Raises:
            MemoryUnavailable: the server is out of reach, refuses, or does not understand.
            _Missing: there is no such collection.
            _Exists: there is one.
        """
        try:
            return function(*arguments, **options)
        except UnexpectedResponse as error:
            _explain(error)
        except (ApiException, QdrantException) as error:
            log.warning("memory_server_away", error=repr(error), cause=repr(getattr(error, "source", None)))
            raise MemoryUnavailable from error
        except (json.JSONDecodeError, UnicodeDecodeError, AssertionError) as error:
            log.warning("memory_server_is_none", error=repr(error))
            raise MemoryUnavailable("What is at QDRANT_URL does not answer like a Qdrant server.") from error
        except ValueError as error:  # of the client's local mode, which has no statuses
            if str(error).endswith(" not found"):
                raise _Missing from error
            if str(error).endswith(" already exists"):
                raise _Exists from error
            raise


def _explain(error: UnexpectedResponse) -> NoReturn:
    """Raise what an HTTP status of the server means. Its words go to the log only."""
    match error.status_code:
        case 404 if _is_of_qdrant(error):
            raise _Missing from error
        case 409 if _is_of_qdrant(error):
            raise _Exists from error
        case status:
            log.warning("memory_server_refuses", status=status, body=error.content[:300].decode(errors="replace"))
            hint = ": check QDRANT_API_KEY" if status in (401, 403) else ""
            raise MemoryUnavailable(f"The memory's server answered {status}{hint}.") from error


def _is_of_qdrant(error: UnexpectedResponse) -> bool:
    """Whether a Qdrant server said this, and not whatever else is at its address."""
    try:
        return bool(error.structured()["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return False


def _key_of(name: str) -> tuple[str, WorkspaceKey | None]:
    """Return a collection's name and whose it is, if it is one of this system's."""
    try:
        return name, Collection.of_name(name, _NOBODY).key
    except ValueError:
        return name, None


def _condition(where: Filter, *, before: int | None = None) -> models.Filter | None:
    """Return a filter as the server wants it; `None` if it means everything."""
    must = _must(where, before=before)
    return models.Filter(must=must) if must else None


def _must(where: Filter, *, before: int | None = None) -> list[models.Condition]:
    asked = conditions(where, before=before)
    must: list[models.Condition] = [_equals(name, value) for name, value in asked.equal.items()]
    if asked.since is not None or asked.before is not None:
        span = models.Range(gte=asked.since, lt=asked.before)
        must.append(models.FieldCondition(key=fields.CREATED_AT, range=span))
    return must


def _equals(name: str, value: str | int) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchValue(value=value))


def _vector_of(record: models.Record) -> Vector:
    assert isinstance(record.vector, list)  # a collection of ours has one vector a point, without a name
    return vector_of(record.vector)  # type: ignore[arg-type]


def _check(vector: Vector, space: VectorSpace) -> None:
    if not is_usable(vector, space.dimensions):
        raise ValueError(f"no vector of {space}")


def _whole(seconds: float) -> int:
    """Return whole seconds: the client takes no others."""
    return max(1, math.ceil(seconds))
