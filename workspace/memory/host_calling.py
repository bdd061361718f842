"""Seeing to it that a node hosts a workspace and consumes its requests."""

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from workspace.agent_bus import AgentBus
from workspace.broadcast import Broadcaster, Change
from workspace.names import WorkspaceKey
from workspace.space_store import SpaceStore

REMEMBERED = 150.0
"""Seconds for which a host is trusted to consume the requests that it was told of; it does so for twice as long."""
MOST_REMEMBERED = 20_000
_Host = tuple[str, int]


class _Told(NamedTuple):
    host: _Host
    until: float


class HostCalling:
    """Tells hosts that they are needed, not more often than that costs little."""

    def __init__(
        self, spaces: SpaceStore, bus: AgentBus, broadcaster: Broadcaster, *, remembered: float = REMEMBERED
    ) -> None:
        self._spaces = spaces
        self._bus = bus
        self._broadcaster = broadcaster
        self._remembered = remembered
        self._lock = threading.Lock()
        self._told: OrderedDict[WorkspaceKey, _Told] = OrderedDict()

    def call(self, key: WorkspaceKey) -> None:
        """Ask for a host where there is none, and tell it of a first request.

        Raises:
            NotFound: the project is gone.
        """
        row = self._spaces.get(key)
        host = None if row.node_id is None else (row.node_id, row.epoch)
        now = time.monotonic()
        with self._lock:
            told = self._told.get(key)
        if host is not None and told is not None and told.host == host and told.until > now:
            self._remember(key, _Told(host, now + self._remembered))  # each request keeps the queue open
            return
        is_told = self._broadcaster.tell(Change.MEMORY_NEEDED, key)
        if host is None:
            self._bus.request_placement(key)
        elif is_told:
            self._remember(key, _Told(host, now + self._remembered))

    def call_again(self, key: WorkspaceKey) -> None:
        """Do it whatever the rows say: the host does not answer, and may be gone, or may not know that it is needed."""
        with self._lock:
            self._told.pop(key, None)
        self._broadcaster.tell(Change.MEMORY_NEEDED, key)
        self._bus.request_placement(key)

    def _remember(self, key: WorkspaceKey, told: _Told) -> None:
        with self._lock:
            self._told[key] = told
            self._told.move_to_end(key)
            if len(self._told) > MOST_REMEMBERED:
                self._told.popitem(last=False)
