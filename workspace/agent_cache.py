"""Agents' configs at hand, on two levels: a process's memory, bounded, with Redis behind it. Both keep five minutes.

A task carries the version that it was accepted with, so an older entry is never used for it: a change is seen by the
very next task, whatever broadcasts were lost. What neither level has is read from PostgreSQL.
"""

import heapq
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple
from uuid import UUID

import redis

from workspace.alerts import Alerts
from workspace.cached_agent import CachedAgent
from workspace.events import AlertKind
from workspace.metrics import CACHE_LOOKUPS, CACHE_OVERFLOWS
from workspace.names import WorkspaceKey
from workspace.redis_configs import RedisConfigs

_HIT, _HIT_REDIS, _MISS = (CACHE_LOOKUPS.labels(result) for result in ("hit", "hit_redis", "miss"))


class _Kept(NamedTuple):
    """An entry of the memory."""

    until: float
    key: WorkspaceKey
    entry: CachedAgent


class AgentCache:
    """Least recently used entries leave first. An agent of one workspace is never found under another's key."""

    def __init__(
        self,
        *,
        size: int,
        ttl: float,
        client: redis.Redis,
        alerts: Alerts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a cache.

        Args:
            size: entries in memory at most.
            ttl: seconds that an entry is used on either level.
            client: of a store that may evict its keys at any time.
            alerts: are raised when the memory is too small.
            clock: seconds that never go back.
        """
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._shared = RedisConfigs(client, ttl=ttl, clock=clock)
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._agents: defaultdict[WorkspaceKey, set[UUID]] = defaultdict(set)
        """The agents of each workspace that are in memory."""
        self._ends: list[tuple[float, UUID]] = []
        """A heap of when entries end, so that room is made by those that have. May name some that left before."""
        self._alerts = alerts
        self._lock = threading.Lock()

    def get(self, key: WorkspaceKey, agent_id: UUID, *, at_least: int) -> CachedAgent | None:
        """Return an entry that is fresh and of version `at_least` or newer; Redis is asked if the memory has none."""
        with self._lock:
            kept = self._kept.get(agent_id)
            if kept is not None and kept.entry.version >= at_least and kept.key == key and kept.until >= self._clock():
                self._kept.move_to_end(agent_id)
                _HIT.inc()
                return kept.entry
        found = self._shared.get(key, agent_id)
        if found is None or found.entry.version < at_least:
            _MISS.inc()
            return None
        _HIT_REDIS.inc()
        self._keep(key, agent_id, found.entry, min(found.seconds, self._ttl))
        return found.entry

    def put(self, key: WorkspaceKey, agent_id: UUID, entry: CachedAgent) -> None:
        """Keep what was read from PostgreSQL on both levels, unless a newer one is there."""
        self._keep(key, agent_id, entry, self._ttl)
        self._shared.put(key, agent_id, entry)

    def invalidate(self, key: WorkspaceKey, agent_id: UUID) -> None:
        """Forget one agent on both levels."""
        self._drop(key, [agent_id])
        self._shared.forget(key, [agent_id])

    def clear(self, key: WorkspaceKey, agent_ids: Iterable[UUID] = ()) -> None:
        """Forget a workspace on both levels: the agents that this memory knows, and those that are named."""
        with self._lock:
            known = set(self._agents.get(key, ()))
        known.update(agent_ids)
        self._drop(key, known)
        self._shared.forget(key, known)

    def size(self, key: WorkspaceKey) -> int:
        """Return how many agents of a workspace are in memory."""
        with self._lock:
            self._drop_ended()
            return len(self._agents.get(key, ()))

    def __len__(self) -> int:
        return len(self._kept)

    def _keep(self, key: WorkspaceKey, agent_id: UUID, entry: CachedAgent, seconds: float) -> None:
        with self._lock:
            self._drop_ended()
            known = self._kept.get(agent_id)
            if known is not None:
                if known.key == key and known.entry.version > entry.version:
                    return
                self._remove(agent_id)
            until = self._clock() + seconds
            self._kept[agent_id] = _Kept(until, key, entry)
            self._agents[key].add(agent_id)
            self._note_end(until, agent_id)
            overflowed = len(self._kept) > self._size
            if overflowed:
                self._remove(next(iter(self._kept)))
        if overflowed:
            self._tell_overflow()

    def _drop(self, key: WorkspaceKey, agent_ids: Iterable[UUID]) -> None:
        with self._lock:
            for agent_id in agent_ids:
                kept = self._kept.get(agent_id)
                if kept is not None and kept.key == key:
                    self._remove(agent_id)

    def _drop_ended(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] < now:
            until, agent_id = heapq.heappop(self._ends)
            kept = self._kept.get(agent_id)
            if kept is not None and kept.until == until:
                self._remove(agent_id)

    def _note_end(self, until: float, agent_id: UUID) -> None:
        heapq.heappush(self._ends, (until, agent_id))
        if len(self._ends) > 2 * self._size:  # most of them left before their end
            self._ends = [(kept.until, each) for each, kept in self._kept.items()]
            heapq.heapify(self._ends)

    def _remove(self, agent_id: UUID) -> None:
        key = self._kept.pop(agent_id).key
        agents = self._agents[key]
        agents.discard(agent_id)
        if not agents:
            del self._agents[key]

    def _tell_overflow(self) -> None:
        """An entry left before its time: its agent is in use, or was within the last minutes."""
        CACHE_OVERFLOWS.inc()
        self._alerts.raise_alert(
            AlertKind.CACHE_OVERFLOW,
            detail="The memory for agents' configs is full of such that are in use.",
            size=self._size,
        )
