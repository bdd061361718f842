"""`Idempotency-Key` of what is remembered: sent again under its key, it makes the same memories and not more of them.

A memory's id has its time in it, so all that must be known the second time is when the first one was. The rest is in
the request.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import redis

from workspace.errors import IdempotencyConflict, Unavailable
from workspace.idempotency import Repeat
from workspace.memory.ids import to_milliseconds
from workspace.names import WorkspaceKey

LIFETIME: Final = timedelta(days=1)
"""As long as a key is known."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(NamedTuple):
    """When something was asked for."""

    at: datetime
    """To the millisecond, as ids have it."""
    replayed: bool
    """Whether it was asked for before."""


class RepeatedMemories:
    """Knows when a request came first."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def first(self, key: WorkspaceKey, agent_id: UUID, repeat: Repeat, *, now: datetime) -> Moment:
        """Return when the request with this name came first, which may be now.

        Raises:
            IdempotencyConflict: it was another request.
            Unavailable: Redis is out of reach.
        """
        name = key.memory_repeat(agent_id, repeat.key)
        told = f"{to_milliseconds(now)} {repeat.digest}"
        try:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.set(name, told, nx=True, ex=LIFETIME)
                pipe.get(name)
                is_first, found = pipe.execute()
        except redis.RedisError as error:
            raise Unavailable from error
        milliseconds, digest = found.decode().split(" ")
        if digest != repeat.digest:
            raise IdempotencyConflict
        return Moment(_EPOCH + timedelta(milliseconds=int(milliseconds)), replayed=not is_first)
