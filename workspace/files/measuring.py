"""What a workspace takes on the disk."""

import os
import stat
import time
from typing import NamedTuple

from workspace.files.temporary import is_left_behind
from workspace.files.walk import READABLE, Check

MOST_LEVELS = 64
"""A descriptor is held for each; twice what a path may have."""

BLOCK = 4096
ENTRIES_BETWEEN_CHECKS = 256


class Usage(NamedTuple):
    """What a workspace takes."""

    bytes: int
    entries: int
    complete: bool = True
    """Whether all of it was counted: not if there is too much of it, or some of it could not be looked into."""

    def grown(self, bytes_: int, entries: int) -> "Usage":
        """Return what it takes after a write."""
        return self._replace(bytes=max(self.bytes + bytes_, 0), entries=max(self.entries + entries, 0))


def on_disk(status: os.stat_result) -> int:
    """Return what a file takes: its blocks, which may lie behind its end, or its size, which may have holes."""
    return max(status.st_blocks * 512, status.st_size)


def for_size(size: int) -> int:
    """Return what a new file of this size will take."""
    return -(-size // BLOCK) * BLOCK


def measure(root: int, *, most_entries: int, check: Check) -> Usage:
    """Count what is in a directory at any depth, and remove what a crash left behind."""
    measurement = _Measurement(most_entries, check)
    complete = measurement.add(root, level=0)
    return Usage(measurement.bytes, measurement.entries, complete)


class _Measurement:
    """Counting, with what has been counted until now."""

    def __init__(self, most_entries: int, check: Check) -> None:
        self.bytes = 0
        self.entries = 0
        self._most_entries = most_entries
        self._check = check
        self._now = time.time()
        self._many_names: set[tuple[int, int]] = set()

    def add(self, directory: int, *, level: int) -> bool:
        """Count what is in a directory; returns whether that was all."""
        complete = True
        with os.scandir(directory) as entries:
            for entry in entries:
                if self.entries > self._most_entries:
                    return False
                try:
                    complete &= self._add_entry(directory, entry, level)
                except FileNotFoundError:
                    continue  # a command works on it at the same time
                if self.entries % ENTRIES_BETWEEN_CHECKS == 0:
                    self._check()
        return complete

    def _add_entry(self, directory: int, entry: os.DirEntry[str], level: int) -> bool:
        status = entry.stat(follow_symlinks=False)
        if is_left_behind(entry.name, status, now=self._now):
            os.unlink(entry.name, dir_fd=directory)
            return True
        self.entries += 1
        if stat.S_ISDIR(status.st_mode):
            self.bytes += status.st_blocks * 512
            return self._add_directory(directory, entry.name, level + 1)
        if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in self._many_names:
            self.bytes += on_disk(status)
        if status.st_nlink > 1:
            self._many_names.add((status.st_dev, status.st_ino))
        return True

    def _add_directory(self, parent: int, name: str, level: int) -> bool:
        if level > MOST_LEVELS:
            return False
        try:
            fd = os.open(name, READABLE, dir_fd=parent)
        except (PermissionError, NotADirectoryError):  # the latter: exchanged just now, so nothing is known of it
            return False
        try:
            return self.add(fd, level=level)
        finally:
            os.close(fd)
