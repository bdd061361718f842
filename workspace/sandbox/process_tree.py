"""A process and everything that it started, as the kernel accounts for it.

Everything in a sandbox descends from its first process, also what its parent left behind: the first process of a PID
namespace inherits that. So the tree is the whole.
"""

import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_GONE: Final = (FileNotFoundError, ProcessLookupError, PermissionError)
"""A process that ended meanwhile; one that ends just now may be looked into by nobody but root."""


def tree(pid: int) -> list[int]:
    """Return a process and its descendants, as far as they live."""
    found = [pid]
    for each in found:
        found += children(each)
    return found


def is_known() -> bool:
    """Return whether this kernel tells of children: not without `CONFIG_PROC_CHILDREN`."""
    return (_PROC / f"self/task/{threading.get_native_id()}/children").exists()


def children(pid: int) -> list[int]:
    """Return a process's children."""
    found: list[int] = []
    with suppress(*_GONE):
        for task in os.scandir(_PROC / str(pid) / "task"):
            with suppress(*_GONE):
                found += map(int, Path(task.path, "children").read_text().split())
    return found


def resident(pids: Iterable[int]) -> int:
    """Return the bytes of memory that processes have, counting what they share once for each."""
    total = 0
    for pid in pids:
        with suppress(*_GONE):
            total += int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    return total


def proportional(pids: Iterable[int]) -> int:
    """Return the bytes of memory that processes have, counting what they share once; slower than `resident`."""
    return sum(map(_proportional, pids))


def _proportional(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (*_GONE, StopIteration):
        return resident([pid])  # too much rather than nothing, for one that does not let itself be looked into


def nameless_files(pids: Iterable[int], device: int) -> int:
    """Return the bytes of files on a device that processes hold open although they have no name any more."""
    files = {}
    for status in _open_files(pids):
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0 and status.st_dev == device:
            files[status.st_ino] = status.st_blocks * 512
    return sum(files.values())


def _open_files(pids: Iterable[int]) -> Iterator[os.stat_result]:
    for pid in pids:
        with suppress(*_GONE):
            for entry in os.scandir(_PROC / str(pid) / "fd"):
                with suppress(*_GONE):
                    yield entry.stat()
