"""Pages from the newest on, of engines that give ids in ascending order only, and times in both."""

from collections.abc import Callable, Sequence
from uuid import UUID

from workspace.memory.ids import milliseconds_of

Latest = Callable[[int | None, int], Sequence[tuple[int, UUID]]]
"""Given a time that all must lie before, and a number: the times and ids of the latest, the latest first."""
SameTime = Callable[[int], Sequence[UUID]]
"""The ids of everything that was made in one millisecond."""


def newest_page(limit: int, after: UUID | None, *, latest: Latest, same_time: SameTime) -> list[UUID]:
    """Return up to `limit` ids below `after`, in descending order.

    Ids of one millisecond come in any order from an engine that sorts by time, and a page may end among them. So where
    a page begins and where it ends, that millisecond is read whole.
    """
    before: int | None = None
    ids: list[UUID] = []
    if after is not None:
        before = milliseconds_of(after)
        ids = sorted((id_ for id_ in same_time(before) if id_ < after), reverse=True)
    missing = limit - len(ids)
    if missing > 0:
        more = list(latest(before, missing))
        if len(more) == missing:
            last = more[-1][0]
            more = [each for each in more if each[0] != last] + [(last, id_) for id_ in same_time(last)]
        ids += sorted((id_ for _, id_ in more), reverse=True)
    return ids[:limit]
