"""Removing a tree that a hostile command may have built: any depth, any permissions, links to anywhere.

Directories are moved up to the top before they are emptied, so neither depth nor the length of a path counts. What an
interrupted removal leaves stands at the top, and several may remove the same things at once.
"""

import os
import uuid
from itertools import islice
from pathlib import Path

from workspace.files.walk import ON_THE_WAY, READABLE

_AT_ONCE = 1_000


def remove_tree(top: int, name: str) -> None:
    """Remove something and all that is in it, from a directory that belongs to the server.

    Raises:
        OSError: something stays.
    """
    left = [name]
    while left:
        name = left.pop()
        if not _unlinked(top, name):
            left += _remove_directory(top, name)


def unlock(parent: int, name: str) -> None:
    """Give a directory's owner all permissions, also where it cannot be opened; never through a link."""
    fd = os.open(name, ON_THE_WAY, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{fd}").chmod(0o700)  # fchmod does not take such a descriptor
    finally:
        os.close(fd)


def _remove_directory(top: int, name: str) -> list[str]:
    """Remove a directory with its files, and return under which names those that were in it stand at the top now."""
    moved = []
    try:
        fd = _open_unlocked(top, name)
        try:
            while entries := _some_names(fd):
                for entry in entries:
                    if not _unlinked(fd, entry):
                        moved.append(str(uuid.uuid4()))
                        _move(entry, moved[-1], source=fd, target=top)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top)
    except FileNotFoundError:
        return moved  # another one removed it
    return moved


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


def _move(name: str, new_name: str, *, source: int, target: int) -> None:
    try:
        move_directory(name, new_name, source=source, target=target)
    except FileNotFoundError:
        return  # another one moved it


def move_directory(name: str, new_name: str, *, source: int, target: int) -> None:
    """Move a directory, whatever its permissions are: its own `..` changes, so it has to be open to its owner."""
    try:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        unlock(source, name)
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
