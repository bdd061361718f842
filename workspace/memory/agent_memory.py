"""What one agent remembers: the door that everybody else uses, which speaks of texts.

Nothing is believed of a text: a memory is what somebody wrote once, and may be meant to mislead who reads it again.
Who shows one to a model says that it is a memory.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import structlog

from workspace.errors import InvalidInput, MemoryUnavailable
from workspace.interruptible import Watch
from workspace.memory.door import Pruned, Restored
from workspace.memory.embeddings import Embeddings
from workspace.memory.memories import EVERYTHING, Filter, Found, Memory, Point, Stats
from workspace.memory.store import MOST_AT_ONCE, ContextStore, MemoryPage
from workspace.memory.texts import fitting, stored
from workspace.memory.transfer import Imported, of_line, to_line
from workspace.metrics import MEMORY_FAILURES, MEMORY_PRUNED, MEMORY_SECONDS
from workspace.names import Collection

log = structlog.get_logger(__name__)

WRITE_PATIENCE = 60.0
"""Seconds to embed what is remembered: it comes after the answer, and nobody waits for it."""
EXPORTED_AT_ONCE = 200
IMPORTED_AT_ONCE = 100
SLACK = 100
"""One part in so many goes beyond the limit, so that not every new memory is the end of an old one."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a search finds and a memory holds, unless it is said otherwise."""

    top_k: int
    min_score: float
    token_budget: int
    max_vectors: int
    search_timeout: float


class AgentMemory:
    """The memory of one agent, where the store is. Implements `MemoryDoor`."""

    def __init__(self, collection: Collection, *, store: ContextStore, embeddings: Embeddings, limits: Limits) -> None:
        self.collection = collection
        self._store = store
        self._embeddings = embeddings
        self._limits = limits

    def remember(self, memories: Sequence[Memory], *, watch: Watch | None = None) -> None:
        """Keep memories, each in place of the one with its id. Beyond the agent's limit the oldest are forgotten.

        Raises:
            EmbeddingsUnavailable: the model's server makes no vectors.
            DimensionsChanged: the memory was made with another embedding.
            InvalidInput: a text is empty.
            Interrupted: `watch` ended the work.
        """
        kept = [replace(memory, text=stored(memory.text)) for memory in memories]
        with _measured("remember"):
            vectors = self._embeddings.embed(
                self.collection.key, [memory.text for memory in kept], timeout=WRITE_PATIENCE, watch=watch
            )
            self._keep([Point(*pair) for pair in zip(kept, vectors, strict=True)])

    def search(
        self,
        query: str,
        *,
        where: Filter = EVERYTHING,
        limit: int | None = None,
        min_score: float | None = None,
        token_budget: int | None = None,
        watch: Watch | None = None,
    ) -> list[Found]:
        """Return the memories that are most like `query`, the most like it first.

        Args:
            query: what is looked for.
            where: which memories count.
            limit: how many at most.
            min_score: how like it they must be.
            token_budget: tokens that their texts may take together; what does not fit is passed over.
            watch: of the work that this is part of.

        Raises:
            EmbeddingsUnavailable: the model's server makes no vector in time.
            DimensionsChanged: the memory was made with another embedding.
            InvalidInput: there is nothing to look for.
            Interrupted: `watch` ended the work.
        """
        text = stored(query)
        until = time.monotonic() + self._limits.search_timeout
        with _measured("search"):
            (vector,) = self._embeddings.embed(
                self.collection.key, [text], timeout=self._limits.search_timeout, watch=watch
            )
            left = until - time.monotonic()
            if left <= 0:
                raise MemoryUnavailable("There was no time left to search.")
            found = self._store.search(
                self.collection,
                self._embeddings.space,
                vector,
                where=where,
                limit=_within_reason(self._limits.top_k if limit is None else limit),
                min_score=self._limits.min_score if min_score is None else min_score,
                timeout=left,
            )
        return fitting(found, self._limits.token_budget if token_budget is None else token_budget)

    def page(
        self, *, where: Filter = EVERYTHING, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> MemoryPage:
        """Return memories in the order in which they were made."""
        return self._store.page(
            self.collection, where=where, limit=_within_reason(limit), after=after, newest_first=newest_first
        )

    def count(self, where: Filter = EVERYTHING) -> int:
        """Return how many memories there are."""
        return self._store.count(self.collection, where)

    def stats(self) -> Stats:
        """Return what the memory holds."""
        return self._store.stats(self.collection)

    def clear(self) -> int:
        """Forget everything, and with what it was made; returns how many memories these were."""
        number = self._store.count(self.collection, EVERYTHING)
        self._store.drop(self.collection)
        return number

    def forget(self, ids: Sequence[UUID]) -> None:
        """Forget some memories."""
        self._store.delete(self.collection, ids)

    def forget_where(self, where: Filter) -> int:
        """Forget all that a filter means; returns how many memories these were."""
        return self._store.delete_where(self.collection, where)

    def drop(self) -> None:
        """Remove the memory with everything that it takes: its agent is gone."""
        self._store.drop(self.collection)

    def prune(self, *, older_than: datetime | None = None, keep: int | None = None, dry_run: bool = False) -> Pruned:
        """Forget what was made before a time, and the oldest of what is left beyond a number.

        Args:
            older_than: the time.
            keep: the number.
            dry_run: whether only to say what would be forgotten.

        Raises:
            InvalidInput: neither is given, or the number is negative.
        """
        if (older_than is None and keep is None) or (keep is not None and keep < 0):
            raise InvalidInput("Say how old a memory may be, or how many to keep.")
        total = self._store.count(self.collection, EVERYTHING)
        aged = Filter(until=older_than)
        by_age = self._store.count(self.collection, aged) if older_than is not None else 0
        by_count = max(0, total - by_age - keep) if keep is not None else 0
        if not dry_run:
            if by_age:
                self._store.delete_where(self.collection, aged)
            if keep is not None and by_count:
                self._forget_oldest(keep=keep)
        return Pruned(by_age, by_count)

    def export(self) -> Iterator[str]:
        """Yield every memory as a line of JSON, with its vector, oldest first. Nothing is held meanwhile."""
        return (line for _, line in self.export_after(None))

    def export_after(self, after: UUID | None, *, at_once: int = EXPORTED_AT_ONCE) -> Iterator[tuple[UUID, str]]:
        """Yield the lines of an export that follow a memory, each with the id of its own."""
        while points := self._store.points(self.collection, limit=at_once, after=after):
            space = self._store.space(self.collection)
            if space is None:  # it was cleared meanwhile
                return
            for point in points:
                yield point.memory.id, to_line(point, space)
            after = points[-1].memory.id

    def restore(self, lines: Iterable[str | bytes], *, watch: Watch | None = None) -> Restored:
        """Keep the memories of an export. Vectors of another embedding are made anew. To repeat it is harmless.

        Raises:
            InvalidInput: a line is no memory. Some of what came before it is kept; `check_line` tells beforehand.
            EmbeddingsUnavailable: the model's server makes no vectors.
            DimensionsChanged: the memory was made with another embedding.
        """
        numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        return self.restore_numbered(numbered, now=datetime.now(UTC), watch=watch)

    def restore_numbered(
        self, lines: Iterable[tuple[int, str | bytes]], *, now: datetime, watch: Watch | None = None
    ) -> Restored:
        """Keep memories of an export, or of a part of one.

        Args:
            lines: each with its number, by which a mistake is told.
            now: when memories were made that do not tell it.
            watch: of the work that this is part of.

        Raises:
            As `restore`.
        """
        numbered = iter(lines)
        count = embedded = 0
        while part := list(islice(numbered, IMPORTED_AT_ONCE)):
            read = [self._read(number, line, now) for number, line in part]
            missing = [each.memory.text for each in read if each.vector is None]
            made = iter(
                self._embeddings.embed(self.collection.key, missing, timeout=WRITE_PATIENCE, watch=watch)
                if missing
                else ()
            )
            self._keep([Point(each.memory, each.vector or next(made)) for each in read])
            count += len(read)
            embedded += len(missing)
        return Restored(count, embedded)

    def _read(self, number: int, line: str | bytes, now: datetime) -> Imported:
        try:
            return of_line(line, self._embeddings.space, now=now)
        except InvalidInput as error:
            raise InvalidInput(f"Line {number}: {error.detail}") from error

    def _keep(self, points: Sequence[Point]) -> None:
        """Store points, and forget the oldest if these are too many now."""
        self._store.upsert(self.collection, self._embeddings.space, points)
        most = self._limits.max_vectors
        if self._store.count(self.collection, EVERYTHING) > most:
            number = self._forget_oldest(keep=most - most // SLACK)
            MEMORY_PRUNED.inc(number)
            log.info("memory_pruned", collection=self.collection.name, number=number)

    def _forget_oldest(self, *, keep: int) -> int:
        """Forget the oldest of what is beyond a number; returns how many memories these were.

        Others may do the same at this moment: a request that was not answered in time is sent again. So they are
        counted after it was read which ones are the oldest. What somebody forgets before the count is not too much any
        more, and what somebody forgets after it are the same ones.
        """
        number = 0
        while True:
            oldest = self._store.oldest(self.collection, MOST_AT_ONCE)
            surplus = self._store.count(self.collection, EVERYTHING) - keep
            chosen = oldest[: max(0, surplus)]
            if chosen:
                self._store.delete(self.collection, chosen)
                number += len(chosen)
            if not chosen or surplus <= len(chosen):
                return number


def _within_reason(limit: int) -> int:
    if not 1 <= limit <= MOST_AT_ONCE:
        raise InvalidInput(f"A limit lies between 1 and {MOST_AT_ONCE}.")
    return limit


@contextmanager
def _measured(operation: str) -> Iterator[None]:
    """Count an operation's time, or its failure."""
    with MEMORY_SECONDS.labels(operation).time():
        try:
            yield
        except MemoryUnavailable:
            MEMORY_FAILURES.labels(operation).inc()
            raise
