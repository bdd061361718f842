"""What everybody outside of this package uses: the memory of one agent, wherever it is kept.

`AgentMemory` is it in the process that has the store; `workspace.memory.remote` is it everywhere else, and asks the
workspace's host. A node always has the store; a web process has it only where that is a server.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from workspace.memory.memories import EVERYTHING, Filter, Found, Memory, Stats
from workspace.memory.store import MemoryPage
from workspace.names import WorkspaceKey


class Pruned(NamedTuple):
    """How many memories were forgotten, or would be."""

    by_age: int
    by_count: int


class Restored(NamedTuple):
    """What an import did."""

    stored: int
    embedded: int
    """Of these, the ones whose vectors had to be made anew."""


class MemoryDoor(Protocol):
    """The memory of one agent. Every method raises `MemoryUnavailable` when it is out of reach."""

    def remember(self, memories: Sequence[Memory]) -> None:
        """Keep memories, each in place of the one with its id. Beyond the agent's limit the oldest are forgotten.

        Raises:
            EmbeddingsUnavailable: the model's server makes no vectors.
            DimensionsChanged: the memory was made with another embedding.
            InvalidInput: a text is empty.
        """

    def search(
        self,
        query: str,
        *,
        where: Filter = EVERYTHING,
        limit: int | None = None,
        min_score: float | None = None,
        token_budget: int | None = None,
    ) -> list[Found]:
        """Return the memories that are most like `query`, the most like it first.

        Args:
            query: what is looked for.
            where: which memories count.
            limit: how many at most; the settings say it otherwise.
            min_score: how like it they must be; the settings say it otherwise.
            token_budget: tokens that their texts may take together; what does not fit is passed over.

        Raises:
            EmbeddingsUnavailable: the model's server makes no vector in time.
            DimensionsChanged: the memory was made with another embedding.
            InvalidInput: there is nothing to look for, or the limit is out of bounds.
        """

    def page(
        self, *, where: Filter = EVERYTHING, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> MemoryPage:
        """Return memories in the order in which they were made."""

    def count(self, where: Filter = EVERYTHING) -> int:
        """Return how many memories there are."""

    def stats(self) -> Stats:
        """Return what the memory holds."""

    def clear(self) -> int:
        """Forget everything, and with what it was made; returns how many memories these were."""

    def forget(self, ids: Sequence[UUID]) -> None:
        """Forget some memories."""

    def forget_where(self, where: Filter) -> int:
        """Forget all that a filter means; returns how many memories these were."""

    def prune(self, *, older_than: datetime | None = None, keep: int | None = None, dry_run: bool = False) -> Pruned:
        """Forget what was made before a time, and the oldest of what is left beyond a number.

        Raises:
            InvalidInput: neither is given, or the number is negative.
        """

    def export(self) -> Iterator[str]:
        """Yield every memory as a line of JSON, with its vector, oldest first. Nothing is held meanwhile."""

    def restore(self, lines: Iterable[str | bytes]) -> Restored:
        """Keep the memories of an export. Vectors of another embedding are made anew. To repeat it is harmless.

        Raises:
            InvalidInput: a line is no memory. Some of what came before it is kept; `check_line` tells beforehand.
            EmbeddingsUnavailable: the model's server makes no vectors.
            DimensionsChanged: the memory was made with another embedding.
        """

    def drop(self) -> None:
        """Remove the memory with everything that it takes: its agent is gone."""


class Memories(Protocol):
    """The memories of all agents, as one process reaches them."""

    def of(self, key: WorkspaceKey, agent_name: str, agent_id: UUID) -> MemoryDoor:
        """Return the memory of an agent, whether or not it has remembered anything yet."""
