"""The port: where memories with their vectors are kept, one collection for each agent.

Every method is safe to call from several threads, and all that write are safe to repeat: a point replaces the one with
its id, and deleting what is gone does nothing. A collection that does not exist reads as an empty one, and is made by
the first write. What has returned is kept, even if this process is killed at that moment.

A collection belongs to one agent (`workspace.memory.ownership`). What an earlier agent of the same name left is removed
when a later one asks for it, and never read. An agent that was deleted gets `MemoryOvertaken` where a later one of its
name has a collection, and dropping does nothing then.

Every method raises `MemoryUnavailable` when the store is out of reach or does not answer in time.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from workspace.memory.memories import Filter, Found, Memory, Point, Stats, VectorSpace
from workspace.memory.vectors import Vector
from workspace.names import Collection, WorkspaceKey

MOST_AT_ONCE = 1_000
"""Points of one call, and of a page."""


class MemoryPage(NamedTuple):
    """A part of a collection."""

    items: list[Memory]
    next_cursor: UUID | None
    """The last item's id, if there are more."""


class Size(NamedTuple):
    """What collections take."""

    collections: int
    bytes: int
    """On the disk of the node; a server tells of its own."""


class ContextStore(Protocol):
    """Keeps collections of points."""

    def check(self) -> None:
        """Find out whether the store answers."""

    def ensure(self, collection: Collection, space: VectorSpace) -> None:
        """Make a collection unless it is there.

        Raises:
            DimensionsChanged: it is there, made with another embedding.
        """

    def upsert(self, collection: Collection, space: VectorSpace, points: Sequence[Point]) -> None:
        """Keep points, each in place of one with its id; `ensure` included.

        Raises:
            DimensionsChanged: the collection was made with another embedding.
            ValueError: a vector is none of this space.
        """

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
        """Return the nearest memories, the nearest first.

        Raises:
            DimensionsChanged: the collection was made with another embedding.
            ValueError: the vector is none of this space.
        """

    def page(
        self, collection: Collection, *, where: Filter, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> MemoryPage:
        """Return memories in the order of their ids, which is that of the time they were made.

        Args:
            collection: whose.
            where: which ones.
            limit: how many at most.
            after: the `next_cursor` of the page before. It need not exist any more.
            newest_first: the order.
        """

    def points(self, collection: Collection, *, limit: int, after: UUID | None = None) -> list[Point]:
        """Return memories with their vectors, oldest first; fewer than `limit` only at the end."""

    def oldest(self, collection: Collection, number: int) -> list[UUID]:
        """Return the ids of the oldest memories."""

    def count(self, collection: Collection, where: Filter) -> int:
        """Return how many memories there are, exactly."""

    def delete(self, collection: Collection, ids: Sequence[UUID]) -> None:
        """Forget some memories."""

    def delete_where(self, collection: Collection, where: Filter) -> int:
        """Forget all that a filter means, and return how many these were."""

    def space(self, collection: Collection) -> VectorSpace | None:
        """Return what a collection was made with; `None` if there is none."""

    def stats(self, collection: Collection) -> Stats:
        """Return what a collection holds."""

    def drop(self, collection: Collection) -> None:
        """Remove a collection with all that is in it, unless it is a later agent's by now."""

    def collections(self, *keys: WorkspaceKey) -> list[Collection]:
        """Return the collections of workspaces, each with the agent that it was made for, which may be deleted."""

    def workspaces(self) -> list[WorkspaceKey]:
        """Return the workspaces that have collections."""

    def opened(self) -> dict[Collection, int]:
        """Return the collections that this process keeps from others, with the number of their vectors.

        A server keeps none from anybody.
        """

    def size(self, *keys: WorkspaceKey) -> Size:
        """Return what the collections of workspaces take, as far as that is told without opening any."""

    def release(self, *keys: WorkspaceKey) -> None:
        """Let go of what is open of workspaces, so that another node may open it. Nothing is lost."""

    def close(self) -> None:
        """Let go of everything."""
