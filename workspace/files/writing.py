"""Writing a file: always a new one under another name first, which then takes the place of what was there.

So nothing is ever written through a link, into a pipe or a device, or to a file that has a second name elsewhere, and
who reads at the same time gets the old file or the new one.
"""

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from workspace.files import reading
from workspace.files.measuring import BLOCK, for_size, on_disk
from workspace.files.owner import Owner
from workspace.files.temporary import new_name
from workspace.files.walk import descend_as_far, make
from workspace.tools.errors import ToolError, ToolErrorCode

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20

Admit = Callable[[int, int], None]
"""Told how many bytes and entries a write adds; raises if that is too much."""


class WriteMode(StrEnum):
    """What becomes of a file that is there already."""

    OVERWRITE = "overwrite"
    APPEND = "append"
    CREATE = "create"  # it is an error if there is one


class Written(NamedTuple):
    """What a write came to."""

    size: int
    """Of the whole file."""
    created: bool
    """Whether there was none before."""


class Writer:
    """Writes files of one size at most, for one owner."""

    def __init__(self, *, largest: int, owner: Owner | None) -> None:
        self._largest = largest
        self._owner = owner

    def write(self, root: int, parts: Sequence[str], content: bytes, mode: WriteMode, admit: Admit) -> Written:
        """Write a file, and make the directories that lead to it."""
        self._check_size(len(content))
        *folders, name = parts
        parent, missing = descend_as_far(root, folders)
        try:
            if missing:
                admit(for_size(len(content)) + BLOCK * len(missing), 1 + len(missing))
            for folder in missing:
                made = make(parent, folder, self._owner)
                os.close(parent)
                parent = made
            return self._write_in(parent, name, content, mode, (lambda *_: None) if missing else admit)
        finally:
            os.close(parent)

    def _write_in(self, parent: int, name: str, content: bytes, mode: WriteMode, admit: Admit) -> Written:
        there = _status(parent, name)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise ToolError(ToolErrorCode.NOT_A_FILE, "It is a directory.")
        if there is not None and mode is WriteMode.CREATE:
            raise ToolError(ToolErrorCode.ALREADY_EXISTS, "There is something of this name already.")
        if there is None or mode is not WriteMode.APPEND:
            admit(for_size(len(content)) - _freed(there), int(there is None))
            self._replace(parent, name, content, mode, there, before=None)
            return Written(len(content), created=there is None)
        with reading.opened(parent, name, largest=self._largest) as (fd, status):
            size = status.st_size + len(content)
            self._check_size(size)
            admit(for_size(size) - on_disk(status), 0)
            self._replace(parent, name, content, mode, status, before=fd)
            return Written(size, created=False)

    def _replace(
        self,
        parent: int,
        name: str,
        content: bytes,
        mode: WriteMode,
        there: os.stat_result | None,
        *,
        before: int | None,
    ) -> None:
        """Put a new file in the place of what is there, which begins with what `before` holds."""
        temporary = new_name()
        fd = os.open(temporary, _FLAGS, 0o600, dir_fd=parent)
        try:
            try:
                if before is not None and there is not None:
                    _copy(before, fd, there.st_size)
                _write_all(fd, content)
                if self._owner is not None:
                    self._owner.take(fd)
                os.fchmod(fd, _permissions(there))
            finally:
                os.close(fd)
            if mode is WriteMode.CREATE:
                os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
                os.unlink(temporary, dir_fd=parent)
            else:
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            _remove(parent, temporary)
            raise

    def _check_size(self, size: int) -> None:
        if size > self._largest:
            raise ToolError(
                ToolErrorCode.TOO_LARGE, f"The file would have {size} bytes, and the limit is {self._largest}."
            )


def _status(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _freed(there: os.stat_result | None) -> int:
    """Return what the disk gets back when a file is replaced: nothing if it has a second name."""
    return on_disk(there) if there is not None and there.st_nlink == 1 else 0


def _permissions(there: os.stat_result | None) -> int:
    """Return the permissions of the new file: a script that was executable stays so."""
    if there is None or not stat.S_ISREG(there.st_mode):
        return 0o644
    return stat.S_IMODE(there.st_mode) & 0o777 | 0o600


def _copy(source: int, target: int, size: int) -> None:
    """Copy the beginning of a file without holding it in memory."""
    offset = 0
    while offset < size:
        sent = os.sendfile(target, source, offset, min(_CHUNK, size - offset))
        if sent == 0:
            return  # it has become shorter
        offset += sent


def _write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest[:_CHUNK]) :]


def _remove(parent: int, name: str) -> None:
    with suppress(OSError):  # it took its place already, or its directory is gone
        os.unlink(name, dir_fd=parent)
