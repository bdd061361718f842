"""What is looked at while a command runs, because no limit of the kernel counts it: totals.

A control group would count memory better. A worker can make one only where cgroup v2 is delegated to it, which neither
containers nor this project's own stack do; there the limit of the container is the wall behind this one.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from workspace.sandbox import process_tree, profile
from workspace.sandbox.directory import Directory
from workspace.sandbox.limits import Limits
from workspace.tools.errors import ToolError, ToolErrorCode

_LEAST_SECONDS: Final = 1.0
MAKE_ROOM: Final = "Until there is room again, only rm, rmdir and chmod run."

_SHARE: Final = 10
"""Measuring takes a tenth of the time at most, however many files there are."""


class Watch(Protocol):
    """Something that is looked at now and then."""

    every: float
    """Seconds between two looks."""

    def look(self) -> None:
        """Look.

        Raises:
            ToolError: the command has to end.
        """


class MemoryWatch:
    """The memory of all processes together."""

    every = 0.25

    def __init__(self, pid: int, limits: Limits) -> None:
        self._pid = pid
        self._limit = limits.memory

    def look(self) -> None:
        """See `Watch`."""
        pids = process_tree.tree(self._pid)
        if process_tree.resident(pids) > self._limit and process_tree.proportional(pids) > self._limit:
            raise ended(f"its processes used more than {self._limit} bytes of memory.")


class TemporaryFilesWatch:
    """How many files there are in `/tmp` and `/dev/shm`: their sizes are bounded, their number is not."""

    every = 1.0

    def __init__(self, pid: int, limits: Limits) -> None:
        self._pid = pid
        self._limit = limits.temporary_files
        self._host = Path("/").stat()

    def look(self) -> None:
        """See `Watch`."""
        for first in process_tree.children(self._pid):
            root = Path(f"/proc/{first}/root")
            with suppress(OSError):  # it ended, or has not come so far yet
                if not os.path.samestat(root.stat(), self._host):
                    self._count(f"{root}{profile.TEMPORARY}")
                    self._count(f"{root}{profile.SHARED_MEMORY}")

    def _count(self, path: str) -> None:
        found = os.statvfs(path)
        if found.f_files - found.f_ffree > self._limit:
            raise ended(f"it made more than {self._limit} temporary files.")


class FilesWatch:
    """What the workspace holds, with files that have no name any more, and what is left of the disk."""

    def __init__(self, pid: int, directory: Directory, opened: int, limits: Limits, check: Callable[[], None]) -> None:
        self.every = _LEAST_SECONDS
        self._pid = pid
        self._directory = directory
        self._opened = opened
        self._device = os.fstat(opened).st_dev
        self._limits = limits
        self._check = check

    def look(self) -> None:
        """See `Watch`."""
        began = time.monotonic()
        self._directory.changed()
        usage = self._directory.usage(self._check)
        nameless = process_tree.nameless_files(process_tree.tree(self._pid), self._device)
        if reason := self._limits.exceeded_by(usage.grown(nameless, 0)):
            raise ended(f"{reason}. {MAKE_ROOM}")
        check_disk(self._opened, self._limits.disk_reserve)
        self.every = max(_LEAST_SECONDS, _SHARE * (time.monotonic() - began))


def check_disk(directory: int, reserve: int) -> None:
    """Make sure that the disk has space left: what a command maps into its memory cannot be seen from outside.

    Raises:
        ToolError: `QUOTA_EXCEEDED`.
    """
    disk = os.fstatvfs(directory)
    if disk.f_bavail * disk.f_frsize < reserve:
        raise ToolError(ToolErrorCode.QUOTA_EXCEEDED, "The server has hardly any disk space left for commands.")


def ended(reason: str) -> ToolError:
    """Return what a command that takes too much is ended with."""
    return ToolError(ToolErrorCode.QUOTA_EXCEEDED, f"The command was ended: {reason}")
