"""The collections of a server: what each was made with and for which agent, and how one is made and removed."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from qdrant_client import QdrantClient, models

from workspace.errors import MemoryOvertaken, MemoryUnavailable
from workspace.memory import payload as fields
from workspace.memory.memories import VectorSpace
from workspace.memory.ownership import NOBODY, Standing, standing
from workspace.memory.server.calls import Exists, Missing, called
from workspace.names import Collection, WorkspaceKey

log = structlog.get_logger(__name__)

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


class Known(NamedTuple):
    """What a collection was made with, and for which agent."""

    space: VectorSpace
    agent_id: UUID
    since: float
    """When the server said so, on the store's clock."""


class Collections:
    """Knows what was looked up for a while. Safe to share between threads."""

    def __init__(self, client: QdrantClient, *, hasty: QdrantClient, clock: Callable[[], float]) -> None:
        """Take what it needs.

        Args:
            client: of the server.
            hasty: another one, which waits no longer than a search may; what a collection is can be asked with no
                time limit of its own.
            clock: seconds that only grow.
        """
        self._client = client
        self._hasty = hasty
        self._clock = clock
        self._known: dict[str, Known] = {}
        """By the collections' names."""
        self._lock = threading.Lock()

    def make(self, collection: Collection, space: VectorSpace) -> None:
        """Make a collection; another process may do the same at this moment."""
        try:
            called(
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
        except Exists:
            log.info("memory_collection_exists", collection=collection.name)
        for name, kind in _INDEXES.items():  # also where it was made by one that came no further
            called(self._client.create_payload_index, collection.name, name, kind, wait=True)

    def look(self, collection: Collection, *, at_most: float = 0.0, hasty: bool = False) -> Known | None:
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
                self.remove(collection.name)
                return None

    def _fetch(self, name: str, client: QdrantClient) -> Known | None:
        """Ask the server what a collection is."""
        try:
            found = called(client.get_collection, name)
        except Missing:
            self.forget(name)
            return None
        params, about = found.config.params.vectors, found.config.metadata or {}
        if not isinstance(params, models.VectorParams):
            raise MemoryUnavailable(f"The collection {name} was not made by this system.")
        space = VectorSpace(str(about.get(_MODEL, "an unknown model")), params.size)
        known = Known(space, _id_of(about.get(_AGENT)), self._clock())
        with self._lock:
            self._known[name] = known
        return known

    def remove(self, name: str) -> None:
        """Remove a collection, if there is one."""
        with suppress(Missing):
            called(self._client.delete_collection, name)
        self.forget(name)

    def listed(self) -> dict[str, WorkspaceKey]:
        """Return all collections of this system by their names."""
        found = {}
        for each in called(self._client.get_collections).collections:
            with suppress(ValueError):  # it is somebody else's
                found[each.name] = Collection.of_name(each.name, NOBODY).key
        return found

    def agent_id(self, name: str) -> UUID | None:
        """Return which agent a collection was made for; `None` if there is no such collection."""
        try:
            found = called(self._client.get_collection, name)
        except Missing:
            self.forget(name)
            return None
        return _id_of((found.config.metadata or {}).get(_AGENT))

    def asked(self, collection: Collection, missing: Any, method: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Ask about a collection; returns `missing` if there is none."""
        if self.look(collection, at_most=KNOWN_FOR) is None:
            return missing
        try:
            return called(method, collection.name, *args, **kw)
        except Missing:
            self.forget(collection.name)
            return missing

    def changed(self, collection: Collection, method: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Change a collection, if there is one."""
        with suppress(Missing):
            if self.look(collection) is not None:
                called(method, collection.name, *args, **kw)

    def forget(self, name: str) -> None:
        """Forget what was known of a collection."""
        with self._lock:
            self._known.pop(name, None)


def _id_of(value: object) -> UUID:
    """Return the agent that a collection says it was made for."""
    try:
        return UUID(str(value))
    except ValueError:
        return NOBODY
