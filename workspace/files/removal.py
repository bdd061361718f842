"""Removing a tree that a hostile command may have built: any depth, any permissions, links to anywhere.

Directories are moved up to the top before they are emptied, so neither depth nor the length of a path counts, and a
removal that was interrupted can be done again at any time, also by two at once.
"""

import os
import uuid
from itertools import islice
from pathlib import Path

from workspace.files.walk import ON_THE_WAY, READABLE

_AT_ONCE = 1_000


def remove_contents(bag: int) -> None:
    """Remove everything in a directory that belongs to the server.

    Raises:
        OSError: something stays; all the rest may be gone.
    """
    while names := _some_names(bag):
        for name in names:
            if not _unlinked(bag, name):
                _remove_directory(bag, name)


def unlock(parent: int, name: str) -> None:
    """Give a directory's owner all permissions, also where it cannot be opened; never through a link."""
    fd = os.open(name, ON_THE_WAY, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{fd}").chmod(0o700)  # fchmod does not take such a descriptor
    finally:
        os.close(fd)


def _remove_directory(bag: int, name: str) -> None:
    try:
        fd = _open_unlocked(bag, name)
    except FileNotFoundError:
        return
    try:
        while entries := _some_names(fd):
            for entry in entries:
                if not _unlinked(fd, entry):
                    _move_up(fd, entry, bag)
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=bag)
    except FileNotFoundError:
        return


def _some_names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in islice(entries, _AT_ONCE)]


def _unlinked(parent: int, name: str) -> bool:
    """Remove what is no directory; returns whether that is done."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        return False
    return True


def _open_unlocked(parent: int, name: str) -> int:
    try:
        fd = os.open(name, READABLE, dir_fd=parent)
    except PermissionError:
        unlock(parent, name)
        return os.open(name, READABLE, dir_fd=parent)
    try:
        os.fchmod(fd, 0o700)  # what is in it can be removed only then
    except BaseException:
        os.close(fd)
        raise
    return fd


def _move_up(parent: int, name: str, bag: int) -> None:
    top = str(uuid.uuid4())
    try:
        try:
            os.rename(name, top, src_dir_fd=parent, dst_dir_fd=bag)
        except PermissionError:  # its own `..` changes, so it has to be open to its owner
            unlock(parent, name)
            os.rename(name, top, src_dir_fd=parent, dst_dir_fd=bag)
    except FileNotFoundError:
        return  # another one moved it
