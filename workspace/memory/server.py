"""Memory on a Qdrant server, as an adapter of the port: the one home of `qdrant_client`.

Importing it takes a second and 85 MB, gRPC included, so it is imported only where a server is named in the settings.
"""

import json
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn
from uuid import UUID

import structlog
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from workspace.errors import DimensionsChanged, MemoryOvertaken, MemoryUnavailable
from workspace.memory import payload as fields
from workspace.memory.conditions import conditions
from workspace.memory.first_pages import newest_page
from workspace.memory.memories import EVERYTHING, Filter, Found, InteractionType, Point, Stats, VectorSpace
from workspace.memory.ownership import NOBODY, Standing, standing
from workspace.memory.payload import of_payload, to_payload
from workspace.memory.store import MOST_AT_ONCE, MemoryPage, Size
from workspace.memory.vectors import BYTES_PER_DIMENSION, Vector, is_usable, vector_of
from workspace.names import Collection, WorkspaceKey

log = structlog.get_logger(__name__)

SENT_AT_ONCE: Final = 256
"""Points in a request: at 1536 dimensions some 8 MB of JSON; a server takes 32."""
LOOK_PATIENCE: Final = 2.0
"""Seconds that a search waits to be told what a collection is: the server is asked that in no time at all, and a run
waits for the search."""
KNOWN_FOR: Final = 10.0
"""Seconds until a read asks again whose a collection is, and what it was made with: another process may have made it
anew. A write asks each time."""

_MODEL = "embedding_model"
_AGENT = "agent_id"
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


class _Known(NamedTuple):
    """What a collection was made with, and for which agent."""

    space: VectorSpace
    agent_id: UUID
    since: float
    """When the server said so, on the store's clock."""


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
        self._clock = clock
        self._known: dict[str, _Known] = {}
        """By the collections' names."""
        self._lock = threading.Lock()

    @classmethod
    def at(cls, url: str, *, api_key: str, timeout: float) -> "QdrantServerStore":
        """Return a store that talks to `url`; nothing connects before it is needed.

        Args:
            url: as in `http://127.0.0.1:6333`.
            api_key: empty where the server asks for none.
            timeout: seconds for a request.
        """
        hasty = _client(url, api_key, timeout=min(timeout, LOOK_PATIENCE))
        return cls(_client(url, api_key, timeout=timeout), hasty=hasty)

    def check(self) -> None:
        """See the port."""
        self._called(self._client.collection_exists, "check")  # unlike the server's root, it asks for the key

    def ensure(self, collection: Collection, space: VectorSpace) -> None:
        """See the port."""
        known = self._look(collection)
        if known is None:
            self._make(collection, space)
            known = self._look(collection)
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
                self._called(self._client.upsert, collection.name, part, wait=True)
            except _Missing:  # another process removed it meanwhile
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
        until = time.monotonic() + timeout if timeout is not None else math.inf
        known = self._look(collection, at_most=KNOWN_FOR, hasty=True)
        if known is None:
            return []
        if known.space != space:
            raise DimensionsChanged(expected=known.space, got=space)
        left = until - time.monotonic()
        if left <= 0:
            raise MemoryUnavailable("There was no time left to search.")
        response = self._asked(
            collection,
            None,
            self._client.query_points,
            query=vector.tolist(),
            query_filter=_condition(where),
            search_params=_SEARCH,
            limit=limit,
            with_payload=True,
            timeout=_whole(left) if timeout is not None else None,
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
            self._changed(collection, self._client.delete, models.PointIdsList(points=chosen), wait=True)

    def delete_where(self, collection: Collection, where: Filter) -> int:
        """See the port."""
        number = self.count(collection, where)
        condition = _condition(where) or models.Filter()
        self._changed(collection, self._client.delete, models.FilterSelector(filter=condition), wait=True)
        return number

    def space(self, collection: Collection) -> VectorSpace | None:
        """See the port."""
        known = self._look(collection, at_most=KNOWN_FOR)
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
        agent_id = self._agent_id(collection.name)
        if agent_id is not None and standing(collection.agent_id, agent_id) is not Standing.OVERTAKEN:
            self._remove(collection.name)

    def collections(self, *keys: WorkspaceKey) -> list[Collection]:
        """See the port."""
        ours = self._listed() if keys else {}
        named = {name: self._agent_id(name) for name, key in ours.items() if key in keys}
        return sorted(Collection.of_name(name, agent_id) for name, agent_id in named.items() if agent_id is not None)

    def workspaces(self) -> list[WorkspaceKey]:
        """See the port."""
        return sorted(set(self._listed().values()))

    def opened(self) -> dict[Collection, int]:
        """See the port."""
        return {}

    def size(self, *keys: WorkspaceKey) -> Size:
        """See the port."""
        return Size(sum(key in keys for key in self._listed().values()) if keys else 0, 0)

    def release(self, *keys: WorkspaceKey) -> None:
        """See the port. A server has it open for every node."""

    def close(self) -> None:
        """See the port."""
        self._client.close()
        self._hasty.close()

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

    def _look(self, collection: Collection, *, at_most: float = 0.0, hasty: bool = False) -> _Known | None:
        """Return an agent's collection, if there is one; what an earlier agent left is removed.

        Two processes may remove it at the same time, and the second one what the first has made anew in between. That
        takes a collection that was not removed with its agent, and two first uses within milliseconds.

        Args:
            collection: which one.
            at_most: how many seconds old an answer may be.
            hasty: whether somebody waits for it who cannot wait for long.

        Raises:
            MemoryOvertaken: it is a later agent's.
        """
        with self._lock:
            known = self._known.get(collection.name)
        # Of another agent's only the server tells: what was known may be of one that is gone, and be made anew by now.
        is_own = known is not None and standing(collection.agent_id, known.agent_id) is Standing.OWN
        if known is None or not is_own or self._clock() - known.since >= at_most:
            known = self._fetch(collection.name, self._hasty if hasty else self._client)
        if known is None:
            return None
        match standing(collection.agent_id, known.agent_id):
            case Standing.OWN:
                return known
            case Standing.OVERTAKEN:
                raise MemoryOvertaken
            case Standing.LEFTOVER:
                log.info("memory_leftover_removed", collection=collection.name)
                self._remove(collection.name)
                return None

    def _fetch(self, name: str, client: QdrantClient) -> _Known | None:
        """Ask the server what a collection is."""
        try:
            found = self._called(client.get_collection, name)
        except _Missing:
            self._forget(name)
            return None
        params, about = found.config.params.vectors, found.config.metadata or {}
        if not isinstance(params, models.VectorParams):
            raise MemoryUnavailable(f"The collection {name} was not made by this system.")
        space = VectorSpace(str(about.get(_MODEL, "an unknown model")), params.size)
        known = _Known(space, _id_of(about.get(_AGENT)), self._clock())
        with self._lock:
            self._known[name] = known
        return known

    def _remove(self, name: str) -> None:
        with suppress(_Missing):
            self._called(self._client.delete_collection, name)
        self._forget(name)

    def _listed(self) -> dict[str, WorkspaceKey]:
        """Return all collections of this system by their names."""
        found = {}
        for each in self._called(self._client.get_collections).collections:
            with suppress(ValueError):  # it is somebody else's
                found[each.name] = Collection.of_name(each.name, NOBODY).key
        return found

    def _agent_id(self, name: str) -> UUID | None:
        """Return which agent a collection was made for; `None` if there is no such collection."""
        try:
            found = self._called(self._client.get_collection, name)
        except _Missing:
            self._forget(name)
            return None
        return _id_of((found.config.metadata or {}).get(_AGENT))

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

    def _asked(self, collection: Collection, missing: Any, method: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Ask about a collection; returns `missing` if there is none."""
        if self._look(collection, at_most=KNOWN_FOR) is None:
            return missing
        try:
            return self._called(method, collection.name, *args, **kw)
        except _Missing:
            self._forget(collection.name)
            return missing

    def _changed(self, collection: Collection, method: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Change a collection, if there is one."""
        with suppress(_Missing):
            if self._look(collection) is not None:
                self._called(method, collection.name, *args, **kw)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._known.pop(name, None)

    def _called(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the client, whose errors are many.

        Raises:
            MemoryUnavailable: the server is out of reach, refuses, or does not understand.
            _Missing: there is no such collection.
            _Exists: there is one.
        """
        try:
            return method(*arguments, **options)
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


def _client(url: str, api_key: str, *, timeout: float) -> QdrantClient:
    with warnings.catch_warnings():
        # In a private network, as that of docker-compose.yml, a key without TLS is meant.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=url,
            api_key=api_key or None,
            timeout=_whole(timeout),
            check_compatibility=False,  # a request when it is made, and a warning
            trust_env=False,  # a proxy has no business between a system and its database
        )


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


def _id_of(value: object) -> UUID:
    """Return the agent that a collection says it was made for."""
    try:
        return UUID(str(value))
    except ValueError:
        return NOBODY


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
