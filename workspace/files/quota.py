"""How much a workspace may hold, and who may write to it now."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workspace.files.measuring import Usage
from workspace.files.walk import Check
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolError, ToolErrorCode

LONGEST_TRUST = 60.0
"""Seconds that a measurement is believed for: commands change files too, and tell of it when they end."""

SECONDS_BETWEEN_CHECKS = 0.2

Measure = Callable[[], Usage]


class Account:
    """What one workspace takes. Only for who holds it (`Accounts.held`), but for `changed`."""

    def __init__(self, *, most_bytes: int, most_entries: int, clock: Callable[[], float]) -> None:
        self.lock = threading.Lock()
        self.users = 0
        """Threads that hold it or wait for it; `Accounts` counts them."""
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._clock = clock
        self._usage = Usage(0, 0)
        self._until = float("-inf")
        self._written = False
        self._unsettled = False

    @property
    def expired(self) -> bool:
        """Whether the next one to ask has to measure."""
        return self._clock() >= self._until

    def changed(self) -> None:
        """Believe the last measurement no longer."""
        self._until = float("-inf")

    def usage(self, measure: Measure) -> Usage:
        """Return what the workspace takes, measured now or within the last minute."""
        if self.expired:
            self._until = self._clock() + LONGEST_TRUST  # before it begins: a change meanwhile has to count
            self._written = False
            try:
                self._usage = measure()
            except BaseException:
                self.changed()
                raise
        return self._usage

    def admit(self, bytes_: int, entries: int, measure: Measure) -> None:
        """Take a write into the account, before it is done.

        Raises:
            ToolError: `QUOTA_EXCEEDED`.
        """
        usage = self.usage(measure)
        if self._exceeded(usage, bytes_, entries) and self._written:  # it was an estimate
            self.changed()
            usage = self.usage(measure)
        exceeded = self._exceeded(usage, bytes_, entries)
        if exceeded:
            raise ToolError(ToolErrorCode.QUOTA_EXCEEDED, f"{exceeded} Remove files that are not needed.")
        self._usage = usage.grown(bytes_, entries)
        self._written = self._unsettled = True

    def settle(self, *, done: bool) -> None:
        """Hear how the work ended for which the account was held."""
        if self._unsettled and not done:
            self.changed()  # what was admitted may not have come to be
        self._unsettled = False

    def _exceeded(self, usage: Usage, bytes_: int, entries: int) -> str | None:
        if bytes_ <= 0 and entries <= 0:
            return None  # who makes room may do so at any time
        if not usage.complete:
            return "The workspace has too many files, or directories that are nested too deep or cannot be read."
        if bytes_ > 0 and usage.bytes + bytes_ > self._most_bytes:
            return f"The workspace holds {usage.bytes} bytes, and the limit is {self._most_bytes}."
        if entries > 0 and usage.entries + entries > self._most_entries:
            return f"The workspace holds {usage.entries} files and directories, and the limit is {self._most_entries}."
        return None


class Accounts:
    """The accounts of the workspaces that were written to of late."""

    def __init__(
        self, *, most_bytes: int, most_entries: int, size: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = lambda: Account(most_bytes=most_bytes, most_entries=most_entries, clock=clock)
        self._accounts: dict[WorkspaceKey, Account] = {}
        self._size = size
        self._lock = threading.Lock()

    @contextmanager
    def held(self, key: WorkspaceKey, check: Check) -> Iterator[Account]:
        """Hold a workspace's account: others who want to write to it wait.

        So an append cannot lose another one, and two writes cannot both take the last room.
        """
        account = self._begin_to_use(key)
        try:
            while not account.lock.acquire(timeout=SECONDS_BETWEEN_CHECKS):
                check()
            done = False
            try:
                yield account
                done = True
            finally:
                account.settle(done=done)
                account.lock.release()
        finally:
            with self._lock:
                account.users -= 1

    def changed(self, key: WorkspaceKey) -> None:
        """Have the workspace measured anew when it is next written to."""
        with self._lock:
            account = self._accounts.get(key)
        if account is not None:
            account.changed()

    def _begin_to_use(self, key: WorkspaceKey) -> Account:
        with self._lock:
            account = self._accounts.get(key)
            if account is None:
                if len(self._accounts) >= self._size:
                    self._forget_unused()
                account = self._accounts[key] = self._make()
            account.users += 1
            return account

    def _forget_unused(self) -> None:
        """Make room; one that is used stays, because two of a workspace would not know of each other."""
        for key, account in list(self._accounts.items()):
            if account.expired and not account.users:
                del self._accounts[key]
