"""The fast half of ownership: a Redis key for each hosted workspace, whose value is the node that hosts it.

The rows in Postgres decide (`workspace.claims`); a lease says within seconds that a host is gone. Redis may lose all
its data at any moment, and then every lease is missing although every host lives: a marker key says since when this
Redis has its data, and until a TTL after that a missing lease means nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import redis

from workspace.names import LEASES_SINCE, WorkspaceKey

# Each script begins with this. KEYS[1] is the marker. `age` is for how long this Redis has its data, in milliseconds.
_AGE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local since = redis.call('GET', KEYS[1])
if not since then
  since = now
  redis.call('SET', KEYS[1], now)
end
local age = now - since
"""

# KEYS[2]: the lease. ARGV: node, TTL in ms, whether another node is named by the row.
_TAKE = (
    _AGE
    + """
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then return 'held' end
if not owner and ARGV[3] == '1' and age < tonumber(ARGV[2]) then return 'unsettled' end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 'taken'
"""
)

# KEYS[2..]: leases. ARGV: node, TTL in ms. Returns the numbers of those that were missing, and of those that are
# another node's.
_RENEW = (
    _AGE
    + """
local missing, lost = {}, {}
for i = 2, #KEYS do
  local owner = redis.call('GET', KEYS[i])
  if owner and owner ~= ARGV[1] then
    lost[#lost + 1] = i - 2
  else
    if not owner then missing[#missing + 1] = i - 2 end
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
  end
end
return { missing, lost }
"""
)

# KEYS: leases. ARGV: node.
_RELEASE = """
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
end
"""

# KEYS[2..]: leases. Returns the age, then each lease's owner or an empty string.
_LOOK = (
    _AGE
    + """
local found = { age }
for i = 2, #KEYS do found[i] = redis.call('GET', KEYS[i]) or '' end
return found
"""
)


class Take(StrEnum):
    """What came of asking for a lease."""

    TAKEN = "taken"
    HELD = "held"  # by another node, which lives
    UNSETTLED = "unsettled"  # missing, but this Redis lost its data less than a TTL ago: the owner may live


class Renewal(NamedTuple):
    """What a renewal found."""

    retaken: frozenset[WorkspaceKey]
    """The lease was missing: it is this node's again, if the row still is."""
    lost: frozenset[WorkspaceKey]
    """Another node has the lease."""


class Leases:
    """The leases of a deployment. Every method raises `redis.RedisError` while Redis is out of reach."""

    def __init__(self, client: redis.Redis, *, ttl: float) -> None:
        """Take a client and the seconds that a lease lives without renewal."""
        self.ttl = ttl
        self._milliseconds = int(ttl * 1000)
        self._take = client.register_script(_TAKE)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)
        self._look = client.register_script(_LOOK)

    def take(self, key: WorkspaceKey, node_id: str, *, from_another: bool) -> Take:
        """Take or keep the lease of a workspace.

        Args:
            from_another: whether the row names another node, which did not release it.
        """
        found: Any = self._take(keys=[LEASES_SINCE, key.lease], args=[node_id, self._milliseconds, int(from_another)])
        return Take(found.decode())

    def renew(self, node_id: str, keys: Collection[WorkspaceKey]) -> Renewal:
        """Renew all leases of a node, in one call."""
        ordered = list(keys)
        found: Any = self._renew(keys=[LEASES_SINCE, *_names(ordered)], args=[node_id, self._milliseconds])
        missing, lost = found
        return Renewal(_picked(ordered, missing), _picked(ordered, lost))

    def release(self, node_id: str, keys: Collection[WorkspaceKey]) -> None:
        """Give up what this node has of these leases."""
        if keys:
            self._release(keys=_names(keys), args=[node_id])

    def silent(self, keys: Collection[WorkspaceKey]) -> set[WorkspaceKey]:
        """Return those workspaces whose host, if the row names one, is gone; none while that can not be known."""
        ordered = list(keys)
        found: Any = self._look(keys=[LEASES_SINCE, *_names(ordered)])
        age, *owners = found
        if age < self._milliseconds:
            return set()
        return {key for key, owner in zip(ordered, owners, strict=True) if not owner}


def _names(keys: Iterable[WorkspaceKey]) -> list[str]:
    return [key.lease for key in keys]


def _picked(keys: Sequence[WorkspaceKey], numbers: Iterable[int]) -> frozenset[WorkspaceKey]:
    return frozenset(keys[number] for number in numbers)
