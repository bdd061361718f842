"""Vectors of texts, from the cache where they are there and from the model's server where they are not."""

import time
from collections.abc import Sequence

from workspace.embedding_model import EmbeddingModel
from workspace.errors import EmbeddingsUnavailable
from workspace.interruptible import Watch
from workspace.memory.embedding_cache import EmbeddingCache
from workspace.memory.memories import VectorSpace
from workspace.memory.vectors import Vector
from workspace.names import WorkspaceKey

MOST_BYTES = 8_000
"""Of a text that is embedded. Each token is a byte at least, and OpenAI's models take 8191 tokens."""


class Embeddings:
    """Makes vectors of the texts of one tenant. Safe to share between threads."""

    def __init__(self, model: EmbeddingModel, cache: EmbeddingCache, *, batch: int) -> None:
        self._model = model
        self._cache = cache
        self._batch = batch

    @property
    def space(self) -> VectorSpace:
        """What makes the vectors."""
        return self._model.space

    def embed(
        self, key: WorkspaceKey, texts: Sequence[str], *, timeout: float, watch: Watch | None = None
    ) -> list[Vector]:
        """Return the vectors of some texts, in their order. Of a long text only the beginning counts.

        Args:
            key: whose texts these are.
            texts: none of them empty.
            timeout: seconds for all of it.
            watch: of the work that this is part of.

        Raises:
            EmbeddingsUnavailable: there are none in time.
            Interrupted: `watch` ended the work.
        """
        until = time.monotonic() + timeout
        shown = [beginning(text) for text in texts]
        wanted = list(dict.fromkeys(shown))
        known = self._cache.get(key, self.space, wanted)
        missing = [text for text in wanted if text not in known]
        for start in range(0, len(missing), self._batch):
            part = missing[start : start + self._batch]
            left = until - time.monotonic()
            if left <= 0:
                raise EmbeddingsUnavailable("The model's server made no vectors in time.")
            made = dict(zip(part, self._model.embed(part, timeout=left, watch=watch), strict=True))
            self._cache.put(key, self.space, made)  # each part at once: a later one may fail
            known |= made
        return [known[text] for text in shown]

    def close(self) -> None:
        """Close every connection to the model's server."""
        self._model.close()


def beginning(text: str) -> str:
    """Return as much of a text as is embedded."""
    encoded = text.encode()
    return text if len(encoded) <= MOST_BYTES else encoded[:MOST_BYTES].decode(errors="ignore")
