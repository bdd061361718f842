"""Agents' configs in a process's memory: bounded, for five minutes, stamped with their version.

A task carries the version that it was accepted with, so an older entry is never used for it: a change is seen by the
very next task, whatever broadcasts were lost.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from workspace.agent_config import AgentConfig
from workspace.metrics import CACHE_LOOKUPS


class CachedAgent(NamedTuple):
    """A config and the version it has."""

    version: int
    config: AgentConfig


class AgentCache:
    """Least recently used entries leave first."""

    def __init__(self, *, size: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[UUID, tuple[float, CachedAgent]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, agent_id: UUID, *, at_least: int) -> CachedAgent | None:
        """Return the entry if it is fresh and of version `at_least` or newer."""
        with self._lock:
            until, entry = self._entries.get(agent_id, (0.0, None))
            if entry is None or entry.version < at_least or until < self._clock():
                CACHE_LOOKUPS.labels("miss").inc()
                return None
            self._entries.move_to_end(agent_id)
            CACHE_LOOKUPS.labels("hit").inc()
            return entry

    def put(self, agent_id: UUID, entry: CachedAgent) -> None:
        """Keep an entry, unless a newer one is there."""
        with self._lock:
            _, known = self._entries.get(agent_id, (0.0, None))
            if known is not None and known.version > entry.version:
                return
            self._entries[agent_id] = (self._clock() + self._ttl, entry)
            self._entries.move_to_end(agent_id)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def invalidate(self, agent_id: UUID) -> None:
        """Forget one agent."""
        with self._lock:
            self._entries.pop(agent_id, None)

    def __len__(self) -> int:
        return len(self._entries)
