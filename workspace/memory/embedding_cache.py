"""Vectors of texts in Redis: what was embedded once need not be asked of a provider again.

Nothing here raises for what Redis does. It may forget, be away or slow, or hold what nobody here wrote; all of that
only costs the time of asking the provider.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

import redis

from workspace.memory.memories import VectorSpace
from workspace.memory.vectors import Vector, from_bytes, is_usable
from workspace.metrics import EMBEDDING_LOOKUPS
from workspace.names import WorkspaceKey
from workspace.sparing import Sparing


class EmbeddingCache:
    """Vectors by tenant, space and text."""

    def __init__(self, client: redis.Redis, *, ttl: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._ttl = ttl
        self._sparing = Sparing(clock=clock)

    def get(self, key: WorkspaceKey, space: VectorSpace, texts: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors that are there."""
        if not texts or self._sparing.is_on:
            return {}
        try:
            values = self._client.mget([key.embedding(digest(space, text)) for text in texts])
        except (redis.RedisError, OSError) as error:
            self._sparing.begin("embedding_cache_away", repr(error))
            return {}
        found = {}
        for text, value in zip(texts, values, strict=True):
            vector = _read(value, space)
            if vector is not None:
                found[text] = vector
        EMBEDDING_LOOKUPS.labels("hit").inc(len(found))
        EMBEDDING_LOOKUPS.labels("miss").inc(len(texts) - len(found))
        return found

    def put(self, key: WorkspaceKey, space: VectorSpace, vectors: Mapping[str, Vector]) -> None:
        """Keep vectors for their time."""
        if self._sparing.is_on:
            return
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for text, vector in vectors.items():
                    pipe.set(key.embedding(digest(space, text)), vector.tobytes(), ex=self._ttl)
                pipe.execute()
        except (redis.RedisError, OSError) as error:
            self._sparing.begin("embedding_cache_away", repr(error))


def digest(space: VectorSpace, text: str) -> str:
    """Return the digest of a text and of what makes its vector."""
    return hashlib.sha256(f"{space.model}\0{space.dimensions}\0{text}".encode()).hexdigest()


def _read(value: object, space: VectorSpace) -> Vector | None:
    if not isinstance(value, bytes):
        return None
    try:
        vector = from_bytes(value)
    except ValueError:
        return None
    return vector if is_usable(vector, space.dimensions) else None
