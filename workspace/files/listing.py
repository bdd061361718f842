"""Listing directories: names in a stable order, links shown and never followed, and no more than can be read."""

import os
import stat
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from workspace.files.glob import Glob
from workspace.files.paths import MOST_LEVELS, readable
from workspace.files.temporary import is_temporary
from workspace.files.walk import READABLE, Check, descend

MOST_SCANNED = 20_000
"""Names that one call looks at, whether they match or not."""


class EntryType(StrEnum):
    """What stands under a name."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"  # a pipe, socket or device


class Entry(NamedTuple):
    """One line of a list."""

    path: str
    """From the workspace on; a name that paths may not have is shown with backslash escapes."""
    type: EntryType
    size: int | None
    """Bytes of a file."""


class Listing(NamedTuple):
    """What a list shows."""

    entries: tuple[Entry, ...]
    truncated: bool
    """Whether there may be more than is shown."""


def list_directory(
    root: int, parts: Sequence[str], *, recursive: bool, glob: Glob | None, limit: int, check: Check
) -> Listing:
    """List a directory, and all below it if `recursive`."""
    on_the_way = descend(root, parts)
    try:
        directory = os.open(".", READABLE, dir_fd=on_the_way)
    finally:
        os.close(on_the_way)
    try:
        lister = _Lister(recursive=recursive, glob=glob, limit=limit, check=check)
        shown = "".join(f"{part}/" for part in parts)
        lister.add(directory, shown, glob.begin() if glob else 0, len(parts) + 1)
        return Listing(tuple(lister.entries), lister.truncated)
    finally:
        os.close(directory)


class _Lister:
    """Listing, with what has been listed until now."""

    def __init__(self, *, recursive: bool, glob: Glob | None, limit: int, check: Check) -> None:
        self.entries: list[Entry] = []
        self.truncated = False
        self._recursive = recursive
        self._glob = glob
        self._limit = limit
        self._check = check
        self._left_to_scan = MOST_SCANNED
        self._done = False

    def add(self, directory: int, shown: str, places: int, level: int) -> None:
        """List a directory whose path is shown as `shown` and led the pattern to `places`."""
        for name in self._names(directory):
            if self._done:
                return
            self._check()
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue  # a command works on it at the same time
            self._add_entry(directory, name, status, shown, places, level)

    def _names(self, directory: int) -> list[str]:
        with os.scandir(directory) as found:
            names = [entry.name for entry in islice(found, self._left_to_scan)]
            self.truncated |= next(found, None) is not None
        self._left_to_scan -= len(names)
        return sorted(name for name in names if not is_temporary(name))

    def _add_entry(
        self, directory: int, name: str, status: os.stat_result, shown: str, places: int, level: int
    ) -> None:
        after = self._glob.feed(places, name) if self._glob else 0
        path = shown + readable(name)
        if self._glob is None or self._glob.accepts(after):
            if len(self.entries) >= self._limit:
                self.truncated = self._done = True
                return
            self.entries.append(_entry(path, status))
        if self._recursive and stat.S_ISDIR(status.st_mode):
            below = self._glob.feed(after, "/") if self._glob else 0
            if self._glob is None or below:
                self._descend(directory, name, f"{path}/", below, level + 1)

    def _descend(self, parent: int, name: str, shown: str, places: int, level: int) -> None:
        if level > MOST_LEVELS:
            self.truncated = True
            return
        try:
            fd = os.open(name, READABLE, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return  # gone or exchanged since it was looked at, or closed by a command
        try:
            self.add(fd, shown, places, level)
        finally:
            os.close(fd)


def _entry(path: str, status: os.stat_result) -> Entry:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return Entry(path, EntryType.FILE, status.st_size)
    if stat.S_ISDIR(mode):
        return Entry(path, EntryType.DIRECTORY, None)
    return Entry(path, EntryType.LINK if stat.S_ISLNK(mode) else EntryType.OTHER, None)
