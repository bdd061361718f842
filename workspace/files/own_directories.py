"""The server's own directories: above those of workspaces, and beside them.

Nobody but the server passes through them. Where it is root, commands run for another account, and begin in a workspace
all the same: they are carried there by its descriptor (`workspace.sandbox.private_mount`).
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from workspace.files.walk import READABLE

PRIVATE = 0o700


class OwnDirectories:
    """Opens them from `base` down, and sees to their permissions, whoever made them."""

    def __init__(self, base: Path) -> None:
        self._base = base

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
            self._base.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
            fd = os.open(self._base, READABLE)
        return _closed_to_others(fd)

    def enter(self, parent: int, name: str, *, make: bool) -> int:
        """Return a descriptor of a directory in another one.

        Raises:
            FileNotFoundError: there is none, and `make` is false.
        """
        return _closed_to_others(open_or_make(parent, name, make=make))


def _closed_to_others(fd: int) -> int:
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != PRIVATE:
            os.fchmod(fd, PRIVATE)
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
        os.mkdir(name, PRIVATE, dir_fd=parent)
    return os.open(name, READABLE, dir_fd=parent)
