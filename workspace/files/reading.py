"""Reading a file: a regular one with one name only, and no more of it than was asked for."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from workspace.files.walk import descend
from workspace.tools.errors import ToolError, ToolErrorCode

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Not to wait for the other end of a pipe, and not to be given a terminal."""


class Content(NamedTuple):
    """A part of a file."""

    data: bytes
    size: int
    """Of the whole file."""


def read(root: int, parts: Sequence[str], *, offset: int, length: int, largest: int) -> Content:
    """Return `length` bytes of a file from `offset` on, or what there is of them."""
    parent = descend(root, parts[:-1])
    try:
        with opened(parent, parts[-1], largest=largest) as (fd, status):
            wanted = min(length, status.st_size - offset)
            return Content(_read_exactly(fd, offset, wanted) if wanted > 0 else b"", status.st_size)
    finally:
        os.close(parent)


@contextmanager
def opened(parent: int, name: str, *, largest: int) -> Iterator[tuple[int, os.stat_result]]:
    """Open a file that may be read, whose status is that of the very file that is open.

    It is looked at before as well, because opening some devices does something already.

    Raises:
        ToolError: `NOT_A_FILE` or `TOO_LARGE`.
    """
    _check(os.stat(name, dir_fd=parent, follow_symlinks=False), largest)
    fd = os.open(name, _FLAGS, dir_fd=parent)
    try:
        status = os.fstat(fd)
        _check(status, largest)
        yield fd, status
    finally:
        os.close(fd)


def _check(status: os.stat_result, largest: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ToolError(ToolErrorCode.NOT_A_FILE, f"It is {_kind(status.st_mode)}, and only regular files are read.")
    if status.st_nlink > 1:  # 0: it has just been replaced
        raise ToolError(
            ToolErrorCode.NOT_A_FILE, "The file has a second name (a hard link), and such files are not read."
        )
    if status.st_size > largest:
        raise ToolError(
            ToolErrorCode.TOO_LARGE, f"The file has {status.st_size} bytes; the limit is {largest}, for a part as well."
        )


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a link" if stat.S_ISLNK(mode) else "a pipe, socket or device"


def _read_exactly(fd: int, offset: int, length: int) -> bytes:
    """Return `length` bytes, or fewer if the file has become shorter."""
    data = os.pread(fd, length, offset)
    if len(data) == length:
        return data
    parts = [data]
    while data:
        offset += len(data)
        length -= len(data)
        data = os.pread(fd, length, offset)
        parts.append(data)
    return b"".join(parts)
