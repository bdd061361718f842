"""`WorkerSpaceManager`: one a process; each (user, project) has one `UserWorkerSpace` in it."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from workspace.hosted_space import LETTING_GO
from workspace.names import WorkspaceKey
from workspace.space import SpaceServices, UserWorkerSpace
from workspace.tenure import Tenure

REMEMBERED = 20_000
"""Workspaces that a process keeps at hand without hosting them; those hold no resources of their own."""


class WorkerSpaceManager:
    """Makes workspaces at first use and hands out the same one after that, to any thread."""

    def __init__(self, services: SpaceServices) -> None:
        self._services = services
        self._spaces: OrderedDict[WorkspaceKey, UserWorkerSpace] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_create(self, key: WorkspaceKey) -> UserWorkerSpace:
        """Return the workspace of a key; parallel first calls make one."""
        with self._lock:
            space = self._spaces.get(key)
            if space is None:
                space = self._spaces[key] = UserWorkerSpace(key, self._services)
                self._forget_oldest()
            else:
                self._spaces.move_to_end(key)
            return space

    def get(self, key: WorkspaceKey) -> UserWorkerSpace | None:
        """Return the workspace of a key if this process has it."""
        with self._lock:
            return self._spaces.get(key)

    def tenure(self, key: WorkspaceKey) -> Tenure | None:
        """Return how this process hosts a workspace, if it does."""
        space = self.get(key)
        return space.host.tenure if space and space.host else None

    def remove(self, key: WorkspaceKey) -> bool:
        """Close a workspace gracefully and forget it; returns whether it was there."""
        space = self.get(key)
        if space is None:
            return False
        space.cleanup()
        self.forget(key)
        return True

    def remove_user_spaces(self, user_id: UUID) -> int:
        """Close and forget every workspace of a user that this process has; returns how many."""
        return sum(self.remove(key) for key in self._keys() if key.user_id == user_id)

    def cleanup_all(self, *, sparing: Callable[[WorkspaceKey], bool] = lambda _: False) -> list[WorkspaceKey]:
        """Give every workspace that this process hosts away, in one call, and forget it: the process is ending.

        Args:
            sparing: says which ones to keep for now, because work runs in them.

        Returns:
            Those with tasks that wait, which need a new host.
        """
        host = self._services.host
        if host is None:
            return []
        leaving = [space.key for space in self.hosted() if not sparing(space.key)]
        if leaving:
            host.memories.release(*leaving, within=LETTING_GO)
        waiting = host.claims.release_all(leaving)
        with self._lock:
            for key in leaving:
                space = self._spaces.pop(key, None)
                if space and space.host:
                    space.host.tenure = None
        return waiting

    def forget(self, key: WorkspaceKey) -> None:
        """Forget a workspace that this process does not host."""
        with self._lock:
            self._spaces.pop(key, None)

    def hosted(self) -> list[UserWorkerSpace]:
        """Return the workspaces that this process hosts."""
        with self._lock:
            return [space for space in self._spaces.values() if space.hosted]

    def is_sure_host(self, key: WorkspaceKey) -> bool:
        """Return whether this process hosts a workspace, and nobody else can at this moment."""
        space = self.get(key)
        tenure = space.host.tenure if space and space.host else None
        return tenure is not None and tenure.is_sure and not tenure.suspended and not tenure.closing

    def get_user_project_count(self, user_id: UUID) -> int:
        """Return how many workspaces of a user this process has."""
        return sum(key.user_id == user_id for key in self._keys())

    def get_stats(self) -> dict[str, Any]:
        """Return `{active_spaces, spaces: {slug: metrics}}` of what this process has."""
        with self._lock:
            spaces = list(self._spaces.values())
        return {"active_spaces": len(spaces), "spaces": {space.key.slug: space.get_metrics() for space in spaces}}

    def _keys(self) -> list[WorkspaceKey]:
        with self._lock:
            return list(self._spaces)

    def _forget_oldest(self) -> None:
        for key in list(self._spaces)[: max(len(self._spaces) - REMEMBERED, 0)]:
            if not self._spaces[key].hosted:
                del self._spaces[key]
