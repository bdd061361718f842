"""Agents' configs in Redis, where every process finds what one of them loaded.

The store may forget anything at any time, be away, slow, or hold what nobody here wrote: all of that is only a config
that has to be read from PostgreSQL. A tenant's keys are made from its ids, so no value of another one can be met.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import redis
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workspace.agent_config import AgentConfig
from workspace.cached_agent import CachedAgent
from workspace.names import WorkspaceKey
from workspace.sparing import Sparing

KEYS_AT_ONCE = 500
NEVER_EXPIRES = -1
"""What Redis says of the time that such a key has left."""

# KEYS[1]: the config's key. ARGV: version, milliseconds to live, the JSON. A slow loader must not put an older version
# over a newer one: readers would refuse it and ask PostgreSQL until it is replaced. A script compares and writes in
# one step and one round trip; it reads the first bytes only, which always hold the version.
_PUT = """
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('PTTL', KEYS[1]) > 0 then
  local known = string.match(redis.call('GETRANGE', KEYS[1], 0, 31), '^{"version":(%d+),')
  if known and tonumber(known) > tonumber(ARGV[1]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
return 1
"""

Answer = TypeVar("Answer")


class _Stored(BaseModel):
    """The value of a key. The version stands first: `_PUT` reads it there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1, strict=True)
    config: AgentConfig


class Found(NamedTuple):
    """An entry, and for how many seconds it may still be used."""

    entry: CachedAgent
    seconds: float


class RedisConfigs:
    """The level of the agent cache that processes share. Nothing here raises for what Redis does."""

    def __init__(self, client: redis.Redis, *, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._script = client.register_script(_PUT)
        self._milliseconds = max(1, round(ttl * 1000))
        self._sparing = Sparing(clock=clock)

    def get(self, key: WorkspaceKey, agent_id: UUID) -> Found | None:
        """Return what is there of an agent."""
        name = key.agent_config(agent_id)

        def read() -> list[Any]:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.get(name)
                pipe.pttl(name)
                return list(pipe.execute(raise_on_error=False))

        answer = self._ask(read)
        if answer is None:
            return None
        value, milliseconds = answer
        if value is None:
            return None
        try:
            stored = _read(value, milliseconds)
        except (ValueError, redis.ResponseError) as error:
            self._sparing.complain("agent_cache_garbage", _described(error))
            self.forget(key, [agent_id])
            return None
        return Found(CachedAgent(stored.version, stored.config), max(milliseconds, 0) / 1000)

    def put(self, key: WorkspaceKey, agent_id: UUID, entry: CachedAgent) -> None:
        """Keep an entry for its time, unless a newer one is there."""
        value = _Stored(version=entry.version, config=entry.config).model_dump_json()
        arguments: list[int | str] = [entry.version, self._milliseconds, value]
        self._ask(lambda: self._script(keys=[key.agent_config(agent_id)], args=arguments))

    def forget(self, key: WorkspaceKey, agent_ids: Iterable[UUID]) -> None:
        """Remove the entries of some agents of a workspace; asked also during a pause, and what fails expires."""
        names = [key.agent_config(agent_id) for agent_id in agent_ids]

        def remove() -> None:
            for start in range(0, len(names), KEYS_AT_ONCE):
                self._client.unlink(*names[start : start + KEYS_AT_ONCE])

        self._try(remove)

    def _ask(self, call: Callable[[], Answer]) -> Answer | None:
        return None if self._sparing.is_on else self._try(call)

    def _try(self, call: Callable[[], Answer]) -> Answer | None:
        try:
            return call()
        except redis.RedisError as error:
            self._sparing.begin("agent_cache_away", _described(error))
            return None


def _read(value: Any, milliseconds: int) -> _Stored:
    """Read a value.

    Raises:
        redis.ResponseError: it is of another type than text.
        ValueError: it is no config, or nothing that this module put there: it never expires.
    """
    if isinstance(value, redis.ResponseError):
        raise value
    if milliseconds == NEVER_EXPIRES:
        raise ValueError("a key that never expires")
    return _Stored.model_validate_json(value)


def _described(error: Exception) -> str:
    """Return what may be logged of an error: values are configs of tenants."""
    if isinstance(error, ValidationError):
        return str([(mistake["loc"], mistake["type"]) for mistake in error.errors(include_input=False)][:5])
    return repr(error)
