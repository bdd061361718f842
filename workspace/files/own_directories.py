"""The server's own directories: above those of workspaces, and beside them.

Nobody but the server lists or changes them. Where it is root, the owner of the workspaces may pass through them,
because commands run for that account and begin in a workspace.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from workspace.files.owner import Owner
from workspace.files.walk import READABLE


class OwnDirectories:
    """Opens them from `base` down, and sees to their permissions, whoever made them."""

    def __init__(self, base: Path, owner: Owner | None) -> None:
        self._base = base
        self._group = owner.gid if owner is not None else None

    def open_base(self, *, make: bool) -> int:
        """Return a descriptor of the directory of all workspaces.

        Raises:
            FileNotFoundError: there is none, and `make` is false.
        """
        try:
            fd = os.open(self._base, READABLE)
        except FileNotFoundError:
            if not make:
                raise
            self._base.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._base, READABLE)
        return self._closed_to_others(fd)

    def enter(self, parent: int, name: str, *, make: bool) -> int:
        """Return a descriptor of a directory in another one.

        Raises:
            FileNotFoundError: there is none, and `make` is false.
        """
        return self._closed_to_others(open_or_make(parent, name, make=make))

    def _closed_to_others(self, fd: int) -> int:
        try:
            status = os.fstat(fd)
            if self._group is not None and status.st_gid != self._group:
                os.fchown(fd, -1, self._group)
            mode = 0o700 if self._group is None else 0o710
            if stat.S_IMODE(status.st_mode) != mode:
                os.fchmod(fd, mode)
        except BaseException:
            os.close(fd)
            raise
        return fd


def open_or_make(parent: int, name: str, *, make: bool) -> int:
    """Return a descriptor of a directory, made if `make` and there is none.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        return os.open(name, READABLE, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another thread was first
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, READABLE, dir_fd=parent)
