"""What a node sees to of its memories: that it holds no other node's collections, and what its own ones take.

Each look is beside the other chores: the engine or the disk may be slow.
"""

from collections.abc import Callable, Iterable

import structlog

from tasks.housekeeping import Chore
from tasks.node_parts import NodeParts
from workspace.aside import Aside
from workspace.hosted_space import HostedSpace
from workspace.metrics import MEMORY_BYTES, MEMORY_COLLECTIONS, MEMORY_VECTORS

log = structlog.get_logger(__name__)

STRAY_INTERVAL = 10.0
"""Seconds between two looks for collections of workspaces that are not hosted here: a node that is their host by now
finds them unavailable until then. The end of work that was told to stop may open one again."""
MEASURE_INTERVAL = 60.0
"""Seconds between two measurements, for which the disk is walked."""


class MemoryUpkeep:
    """The chores."""

    def __init__(self, parts: NodeParts, *, hosts: Callable[[], Iterable[HostedSpace]]) -> None:
        self._memories = parts.memories
        self._watch = parts.memory_watch
        self._hosts = hosts
        self._letting_go = Aside("memory-stray", 0.0)
        self._measuring = Aside("memory-measure", 0.0)

    def chores(self) -> list[Chore]:
        """Return the chores with their intervals."""
        return [
            Chore("memory_stray", STRAY_INTERVAL, lambda: self._letting_go.run(self.let_go)),
            Chore("memory_measure", MEASURE_INTERVAL, lambda: self._measuring.run(self.measure)),
        ]

    def let_go(self) -> None:
        """Let go of the collections of workspaces that are not hosted here."""
        opened = {collection.key for collection in self._memories.store.opened()}
        # Asked for after that: what was opened for a workspace that came in between is no stray.
        hosted = {host.key for host in self._hosts() if host.tenure is not None and not host.tenure.suspended}
        stray = opened - hosted
        if stray:
            log.warning("memory_of_others_open", workspaces=len(stray))
            self._memories.store.release(*stray)

    def measure(self) -> None:
        """Find out whether memory answers, and what it takes."""
        hosted = [host.key for host in self._hosts()]
        if hosted:
            self._watch.look()
        opened = self._memories.store.opened()
        size = self._memories.store.size(*hosted)
        MEMORY_COLLECTIONS.labels("open").set(len(opened))
        MEMORY_COLLECTIONS.labels("known").set(size.collections)
        MEMORY_VECTORS.set(sum(opened.values()))
        MEMORY_BYTES.set(size.bytes)
