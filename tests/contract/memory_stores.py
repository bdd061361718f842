"""The two adapters of the memory port, as the contract's tests get them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qdrant_client import QdrantClient

from workspace.memory.edge.store import QdrantEdgeStore
from workspace.memory.server.store import QdrantServerStore
from workspace.memory.store import ContextStore

ADAPTERS = ("server", "edge")
NO_SERVER = [
    # The client's own engine stands for the server, and says what it does not do.
    "ignore:Payload indexes have no effect in the local Qdrant",
    "ignore:Local mode performs exact",
]


@contextmanager
def opened(adapter: str, directory: Path) -> Iterator[ContextStore]:
    """Yield an empty store."""
    store: ContextStore = (
        QdrantEdgeStore(directory) if adapter == "edge" else QdrantServerStore(QdrantClient(":memory:"))
    )
    try:
        yield store
    finally:
        store.close()
