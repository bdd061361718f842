"""The directories of all workspaces: `base/<user>/<project>`, found by id alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from workspace.files.own_directories import OwnDirectories, open_or_make
from workspace.files.owner import Owner
from workspace.files.removal import unlock
from workspace.files.walk import READABLE
from workspace.names import WorkspaceKey

TRIES = 10
"""A user's directory may be removed because it is empty while another project's is made in it."""


class Places:
    """Where workspaces are, made at first use."""

    def __init__(self, base: Path, owner: Owner | None, own: OwnDirectories) -> None:
        self._base = base
        self._owner = owner
        self._own = own

    def path(self, key: WorkspaceKey) -> Path:
        """Return where the workspace's directory is."""
        return self._base / name_of(key.user_id) / name_of(key.project_id)

    def open(self, key: WorkspaceKey, *, make: bool) -> int:
        """Return a descriptor of the workspace's directory; the caller closes it.

        Raises:
            FileNotFoundError: there is none, and `make` is false.
        """
        for _ in range(TRIES):
            try:
                return self._open(key, make=make)
            except FileNotFoundError:
                if not make:
                    raise
        return self._open(key, make=make)

    def keys(self) -> Iterator[WorkspaceKey]:
        """Yield every workspace that has a directory."""
        try:
            base = self._own.open_base(make=False)
        except FileNotFoundError:
            return
        try:
            for user_id in _ids(base):
                for project_id in self._projects(base, user_id):
                    yield WorkspaceKey(user_id, project_id)
        finally:
            os.close(base)

    def _open(self, key: WorkspaceKey, *, make: bool) -> int:
        base = self._own.open_base(make=make)
        try:
            user = self._own.enter(base, name_of(key.user_id), make=make)
        finally:
            os.close(base)
        try:
            return self._open_workspace(user, name_of(key.project_id), make=make)
        finally:
            os.close(user)

    def _open_workspace(self, user: int, name: str, *, make: bool) -> int:
        try:
            fd = open_or_make(user, name, make=make)
        except PermissionError:  # a command took its permissions; its name is in the server's own directory
            unlock(user, name)
            fd = os.open(name, READABLE, dir_fd=user)
        try:
            status = os.fstat(fd)
            if self._owner is not None and (status.st_uid, status.st_gid) != self._owner:
                self._owner.take(fd)
            if stat.S_IMODE(status.st_mode) != 0o700:
                os.fchmod(fd, 0o700)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _projects(self, base: int, user_id: UUID) -> list[UUID]:
        try:
            user = os.open(name_of(user_id), READABLE, dir_fd=base)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            return list(_ids(user))
        finally:
            os.close(user)


def name_of(id_: UUID) -> str:
    """Return the name of a directory; only an id can be one.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(id_, UUID):
        raise TypeError(f"{id_!r} is no UUID")
    return str(id_)


def _ids(directory: int) -> Iterator[UUID]:
    """Yield the ids that directories in here are named by."""
    for name in os.listdir(directory):  # by descriptor
        try:
            id_ = UUID(name)
        except ValueError:
            continue
        if str(id_) == name:
            yield id_
