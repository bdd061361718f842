"""The memories of all agents, and the store that the settings choose for them."""

import threading
from uuid import UUID

import redis
import structlog

from settings import Settings
from workspace.embedding_model import EmbeddingModel
from workspace.memory.agent_memory import AgentMemory, Limits
from workspace.memory.embedding_cache import EmbeddingCache
from workspace.memory.embeddings import Embeddings
from workspace.memory.store import ContextStore
from workspace.names import Collection, WorkspaceKey

log = structlog.get_logger(__name__)

ENGINES = 2
"""Processes of a node that share its collections, so that one collection that is opened or written holds up half."""
SERVER_TIMEOUT = 30.0
"""Seconds for a request that has no time limit of its own: the making of a collection takes some."""


class AgentMemories:
    """Makes the memory of each agent. Safe to share between threads; nothing connects before it is needed."""

    def __init__(self, settings: Settings, cache: redis.Redis, *, store: ContextStore | None = None) -> None:
        self.store = store or build_store(settings)
        self._embeddings = Embeddings(
            EmbeddingModel(settings),
            EmbeddingCache(cache, ttl=settings.embedding_cache_ttl),
            batch=settings.embedding_batch,
        )
        self._limits = Limits(
            top_k=settings.memory_top_k,
            min_score=settings.memory_min_score,
            token_budget=settings.memory_token_budget,
            max_vectors=settings.memory_max_vectors,
            search_timeout=settings.memory_search_timeout,
        )
        self._lock = threading.Lock()
        self._leaving: set[WorkspaceKey] = set()
        """What is to be let go of, and the event by which that is told to those who wait."""
        self._done = threading.Event()
        self._is_releasing = False

    def of(self, key: WorkspaceKey, agent_name: str, agent_id: UUID) -> AgentMemory:
        """Return the memory of an agent, whether or not it has remembered anything yet."""
        return AgentMemory(
            Collection(key, agent_name, agent_id), store=self.store, embeddings=self._embeddings, limits=self._limits
        )

    def release(self, *keys: WorkspaceKey, within: float = 0.0) -> bool:
        """Let go of workspaces, which another node may take now. It never fails, and goes on where it takes longer.

        One thread does it for all: a node that loses its claims loses all of them at once, in a moment in which
        nothing may hold up the fence.

        Args:
            keys: which ones.
            within: seconds to wait for it.

        Returns:
            Whether it is done.
        """
        if not keys:
            return True
        with self._lock:
            self._leaving.update(keys)
            done = self._done
            is_first, self._is_releasing = not self._is_releasing, True
        if is_first:
            try:
                threading.Thread(target=self._release, name="memory-release", daemon=True).start()
            except RuntimeError:  # there can be no more threads; whoever asks next does this as well
                log.exception("memory_not_released", workspaces=len(keys))
                with self._lock:
                    self._is_releasing = False
        return done.wait(within)

    def _release(self) -> None:
        while True:
            with self._lock:
                if not self._leaving:
                    self._is_releasing = False
                    return
                keys, self._leaving = self._leaving, set()
                done, self._done = self._done, threading.Event()
            try:
                self.store.release(*keys)
            except Exception:  # the border of a thread: an engine that does not answer is seen to again and again
                log.exception("memory_not_released", workspaces=len(keys))
            done.set()

    def close(self) -> None:
        """Let go of everything."""
        self._embeddings.close()
        self.store.close()


def build_store(settings: Settings) -> ContextStore:
    """Return the store that the settings name."""
    if not settings.qdrant_url:
        # A process that asks the hosts needs no engine.
        from workspace.memory.edge.store import QdrantEdgeStore

        return QdrantEdgeStore(settings.data_dir / "memory", engines=ENGINES)
    # A second and 85 MB, which a process that needs no server is spared.
    from workspace.memory.server.store import QdrantServerStore

    return QdrantServerStore.at(
        settings.qdrant_url, api_key=settings.qdrant_api_key.get_secret_value(), timeout=SERVER_TIMEOUT
    )
