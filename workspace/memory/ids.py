"""Ids of memories: UUIDs of version 7. Their order is that of the time, and no second fact can contradict it."""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_RANDOM_A, _RANDOM_B = (1 << 12) - 1, (1 << 62) - 1


def memory_id(at: datetime, *seed: str) -> UUID:
    """Return the id of what was remembered `at` that time; the same arguments always give the same id.

    A caller that may come twice names what it remembers by a seed, such as a task's id and `reply`, and the second
    time replaces the first.

    Raises:
        ValueError: the time has no zone, or lies before 1970.
    """
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    told = "".join(f"{len(part)}:{part}" for part in seed)
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()
    chosen = int.from_bytes(digest[:10], "big")
    milliseconds = to_milliseconds(at)
    if milliseconds < 0:
        raise ValueError("a time before 1970")
    high = milliseconds << 16 | 7 << 12 | (chosen >> 62) & _RANDOM_A
    return UUID(int=high << 64 | 2 << 62 | chosen & _RANDOM_B)


def milliseconds_of(id_: UUID) -> int:
    """Return when a memory was made, in milliseconds since 1970.

    Raises:
        ValueError: it is no UUID of version 7, or of a year that no calendar has.
    """
    milliseconds = id_.int >> 80
    if id_.version != 7 or milliseconds > _LATEST:
        raise ValueError(f"{id_} is no id of a memory")
    return milliseconds


def made_at(id_: UUID) -> datetime:
    """Return when a memory was made.

    Raises:
        ValueError: it is no UUID of version 7.
    """
    return _EPOCH + milliseconds_of(id_) * _MILLISECOND


def to_milliseconds(moment: datetime) -> int:
    """Return the whole milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def first_millisecond(moment: datetime) -> int:
    """Return the first whole millisecond that is not before `moment`."""
    return -((_EPOCH - moment) // _MILLISECOND)
