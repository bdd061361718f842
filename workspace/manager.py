"""`WorkerSpaceManager`: one a process; each (user, project) has one `UserWorkerSpace` in it."""

import threading
from collections import OrderedDict

from workspace.names import WorkspaceKey
from workspace.space import SpaceServices, UserWorkerSpace

REMEMBERED = 20_000
"""Workspaces a web process keeps at hand; they hold no resources of their own there."""


class WorkerSpaceManager:
    """Makes workspaces at first use and hands out the same one after that, to any thread."""

    def __init__(self, services: SpaceServices) -> None:
        self._services = services
        self._spaces: OrderedDict[WorkspaceKey, UserWorkerSpace] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_create(self, key: WorkspaceKey) -> UserWorkerSpace:
        """Return the workspace of a key."""
        with self._lock:
            space = self._spaces.get(key)
            if space is None:
                space = self._spaces[key] = UserWorkerSpace(key, self._services)
                while len(self._spaces) > REMEMBERED:
                    self._spaces.popitem(last=False)
            else:
                self._spaces.move_to_end(key)
            return space

    def remove(self, key: WorkspaceKey) -> bool:
        """Forget a workspace; returns whether it was there."""
        with self._lock:
            return self._spaces.pop(key, None) is not None
