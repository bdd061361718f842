"""What is looked at when a workspace comes to this node: whether its memory answers, and whose it is.

Beside the start of the workspace, which waits for none of it: agents answer without their memory, too.
"""

import threading

import structlog

from workspace.memory_watch import MemoryWatch
from workspace.names import WorkspaceKey
from workspace.sweeping.orphaned_memory import OrphanedMemory

log = structlog.get_logger(__name__)


class MemoryCheck:
    """Checks workspaces on a thread that lives as long as some wait; all that wait are checked together."""

    def __init__(self, watch: MemoryWatch, orphans: OrphanedMemory) -> None:
        self._watch = watch
        self._orphans = orphans
        self._lock = threading.Lock()
        self._waiting: set[WorkspaceKey] = set()
        self._works = False

    def begin(self, key: WorkspaceKey) -> None:
        """Have a workspace checked soon."""
        with self._lock:
            self._waiting.add(key)
            if self._works:
                return
            self._works = True
        threading.Thread(target=self._work, name="memory-check", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                keys, self._waiting = self._waiting, set()
                if not keys:
                    self._works = False
                    return
            try:
                if self._watch.look():
                    self._orphans.remove(*keys)
            except Exception:  # the border of a thread: a store is away, and the sweep looks at all workspaces
                log.exception("memory_check_failed", workspaces=len(keys))
