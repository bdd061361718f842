"""What a command works in: one directory of the host."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from workspace.files import Usage, WorkspaceFiles
from workspace.names import WorkspaceKey


class Directory(Protocol):
    """A directory for a command."""

    def opened(self) -> AbstractContextManager[int]:
        """Hold a descriptor of it."""

    def usage(self, check: Callable[[], None]) -> Usage:
        """Return what it holds, measured since `changed` at the latest; `check` is called meanwhile."""

    def changed(self) -> None:
        """Say that a command may have changed it."""


class WorkspaceDirectory:
    """The directory of a workspace."""

    def __init__(self, files: WorkspaceFiles, key: WorkspaceKey) -> None:
        self._files = files
        self._key = key

    def opened(self) -> AbstractContextManager[int]:
        """See `Directory`."""
        return self._files.opened(self._key)

    def usage(self, check: Callable[[], None]) -> Usage:
        """See `Directory`."""
        return self._files.usage(self._key, check=check)

    def changed(self) -> None:
        """See `Directory`."""
        self._files.changed(self._key)
