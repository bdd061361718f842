"""The files of workspaces: all that tools and the sandbox may know of the server's disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workspace.files import listing, measuring, reading
from workspace.files.file_types import check_type
from workspace.files.glob import Glob
from workspace.files.listing import Listing
from workspace.files.measuring import Usage
from workspace.files.os_errors import told
from workspace.files.own_directories import OwnDirectories
from workspace.files.owner import Owner
from workspace.files.paths import parse, parse_file
from workspace.files.places import Places
from workspace.files.quota import Accounts
from workspace.files.reading import Content
from workspace.files.trash import Trash
from workspace.files.walk import Check
from workspace.files.writing import WriteMode, Writer, Written
from workspace.names import WorkspaceKey

MOST_LISTED = 1_000


def _go_on() -> None:
    """Check nothing."""


class WorkspaceFiles:
    """Every workspace's own directory. What a path of one workspace leads to is always in that workspace.

    For any number of threads. Paths come from a model and are checked here; every error is a `ToolError` whose text
    tells nothing of the host. Arguments named `check` are called at times and may raise to end the work.
    """

    def __init__(
        self,
        base: Path,
        *,
        quota_bytes: int,
        quota_entries: int,
        largest_file: int,
        owner: Owner | None,
        output_limit: int = 1_048_576,
    ) -> None:
        """Make the files; nothing is touched before the first use.

        Args:
            base: the directory of all workspaces, made when it is first needed.
            quota_bytes: what one workspace may take on the disk.
            quota_entries: how many files and directories it may have.
            largest_file: bytes, for reading and for writing.
            owner: whom files are given to; only root can do that, and for any other account it is `None`.
            output_limit: bytes that a tool may answer at most, as JSON.

        Raises:
            ValueError: there is an owner although this process is not root.
        """
        if owner is not None and os.geteuid() != 0:
            raise ValueError("only root can give files to another account")
        self.output_limit = output_limit
        own = OwnDirectories(base)
        self._places = Places(base, owner, own)
        self._trash = Trash(own)
        self._writer = Writer(largest=largest_file, owner=owner)
        self._largest = largest_file
        self._quota_entries = quota_entries
        self._accounts = Accounts(most_bytes=quota_bytes, most_entries=quota_entries)

    def read(self, key: WorkspaceKey, path: str, *, offset: int, length: int) -> Content:
        """Return up to `length` bytes of a file, from `offset` on, and the size of all of it.

        Raises:
            ToolError: `INVALID_PATH`, `NOT_FOUND`, `NOT_A_FILE`, `NOT_A_DIRECTORY`, `TOO_LARGE`, `PERMISSION_DENIED`.
        """
        parts = parse_file(path)
        with told(), self._entered(key, make=False) as root:
            return reading.read(root, parts, offset=offset, length=length, largest=self._largest)

    def write(self, key: WorkspaceKey, path: str, content: bytes, mode: WriteMode, *, check: Check = _go_on) -> Written:
        """Write a file, and make the directories that lead to it. Others see it whole or not at all.

        Raises:
            ToolError: `INVALID_PATH`, `NOT_A_FILE`, `NOT_A_DIRECTORY`, `ALREADY_EXISTS`, `FORBIDDEN_FILE_TYPE`,
                `TOO_LARGE`, `QUOTA_EXCEEDED`, `PERMISSION_DENIED`.
        """
        parts = parse_file(path)
        check_type(parts[-1])
        with told(), self._accounts.held(key, check) as account, self._entered(key, make=True) as root:

            def admit(bytes_: int, entries: int) -> None:
                account.admit(bytes_, entries, lambda: self._measure(root, check))

            return self._writer.write(root, parts, content, mode, admit)

    def list(
        self,
        key: WorkspaceKey,
        path: str,
        *,
        recursive: bool,
        pattern: str | None,
        limit: int = MOST_LISTED,
        check: Check = _go_on,
    ) -> Listing:
        """Return what is in a directory, in a stable order; paths begin at the workspace.

        Args:
            key: the workspace.
            path: the directory; `.` is the workspace itself.
            recursive: whether directories in it are listed too.
            pattern: only what matches it (`glob.Glob`), compared with the path from the directory on.
            limit: entries at most.
            check: called for each entry.

        Raises:
            ToolError: `INVALID_PATH`, `INVALID_ARGUMENTS` (the pattern), `NOT_FOUND`, `NOT_A_DIRECTORY`,
                `PERMISSION_DENIED`.
        """
        parts = parse(path)
        glob = Glob(pattern) if pattern is not None else None
        with told(), self._entered(key, make=True) as root:
            return listing.list_directory(root, parts, recursive=recursive, glob=glob, limit=limit, check=check)

    def usage(self, key: WorkspaceKey, *, check: Check = _go_on) -> Usage:
        """Return what a workspace takes, measured within the last minute and since `changed`; without one, nothing."""
        with told(), self._accounts.held(key, check) as account:
            return account.usage(lambda: self._measured(key, check))

    def changed(self, key: WorkspaceKey) -> None:
        """Measure anew when it is next asked: a command may have changed anything."""
        self._accounts.changed(key)

    @contextmanager
    def opened(self, key: WorkspaceKey) -> Iterator[int]:
        """Open a workspace's directory, made if need be, and yield its descriptor.

        Raises:
            ToolError: `INTERNAL_ERROR`.
        """
        with told():
            fd = self._places.open(key, make=True)
        try:
            yield fd
        finally:
            os.close(fd)

    def path(self, key: WorkspaceKey) -> Path:
        """Return where a workspace's directory is. For the sandbox only: nobody else opens files by a path."""
        return self._places.path(key)

    def remove(self, key: WorkspaceKey) -> None:
        """Remove all files of a workspace, whatever commands left there; nothing happens if there are none.

        Raises:
            OSError: they are still in their place. What could not be removed after that stays in the trash.
        """
        self._trash.remove(key)
        self._accounts.changed(key)

    def empty_trash(self) -> None:
        """Remove what removals left behind, because the server ended in the middle of them."""
        self._trash.empty()

    def workspaces(self) -> Iterator[WorkspaceKey]:
        """Yield every workspace that has a directory."""
        return self._places.keys()

    @contextmanager
    def _entered(self, key: WorkspaceKey, *, make: bool) -> Iterator[int]:
        fd = self._places.open(key, make=make)
        try:
            yield fd
        finally:
            os.close(fd)

    def _measured(self, key: WorkspaceKey, check: Check) -> Usage:
        try:
            with self._entered(key, make=False) as root:
                return self._measure(root, check)
        except FileNotFoundError:
            return Usage(0, 0)

    def _measure(self, root: int, check: Check) -> Usage:
        return measuring.measure(root, most_entries=self._quota_entries, check=check)
