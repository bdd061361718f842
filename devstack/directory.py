"""Where a stack keeps its files, and the lock that says whether it is alive.

The lock is an `flock` held by the launcher and by the supervisor, so it is free exactly when both have ended,
however they ended. The process id written inside is for messages and `down`, and only trusted while it is locked.
"""

import fcntl
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.errors import StackError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

HOME = ROOT / ".devstack"
"""Everything the stacks of this checkout write, apart from what an unprivileged Postgres must keep elsewhere."""

SCHEDULE = "celerybeat-schedule"
"""The scheduler's file; its database library may add endings."""

LOCK_PATIENCE = 0.5
"""Seconds that a lock is asked for: a look at it, as `holder` takes, also holds it for an instant."""

KEPT_LOGS_SECONDS = 24 * 3600
"""How long the logs of a failed temporary stack stay."""


@dataclass(frozen=True)
class StackDirectory:
    """The files of one stack."""

    path: Path

    @property
    def logs(self) -> Path:
        """One log file a program."""
        return self.path / "logs"

    @property
    def data(self) -> Path:
        """What the nodes keep on the disk."""
        return self.path / "data"

    @property
    def env_file(self) -> Path:
        """What scripts read to reach the stack; it exists only while the stack is healthy."""
        return self.path / "env"

    @property
    def state_file(self) -> Path:
        """What the other commands of the launcher need to know about a running stack."""
        return self.path / "stack.json"

    @property
    def secrets_file(self) -> Path:
        """Secrets that live as long as the data."""
        return self.path / "secrets.json"

    @property
    def lock_file(self) -> Path:
        """Locked while the stack lives."""
        return self.path / "lock"

    def log(self, program: str) -> Path:
        """The log file of one program."""
        return self.logs / f"{program}.log"

    def create(self) -> None:
        """Make the directories."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Postgres may run as another user, who has to pass through; every file in here is private by itself.
            self.path.chmod(0o711)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(f"cannot write {self.path}: {error.strerror}; use a checkout you own") from None

    def refuse_if_held(self) -> None:
        """Raise a `StackError` if a stack runs here."""
        pid = holder(self)
        if pid is not None:
            raise _already_running(self, pid)

    def clear(self) -> None:
        """Drop the logs and the scheduler's notes of an earlier run; after a hard end they may be half written."""
        for stale in (*self.logs.glob("*.log"), *self.path.glob(f"{SCHEDULE}*")):
            stale.unlink(missing_ok=True)

    def write_state(self, state: dict[str, Any]) -> None:
        """Record what the other commands need."""
        write_private(self.state_file, json.dumps(state, indent=2))

    def read_state(self) -> dict[str, Any]:
        """What `write_state` recorded, or nothing."""
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state

    def forget(self) -> None:
        """Remove what is true only while the stack runs, private directories outside of the checkout included."""
        for private in self.read_state().get("private_directories", ()):
            shutil.rmtree(private, ignore_errors=True)
        self.env_file.unlink(missing_ok=True)
        self.state_file.unlink(missing_ok=True)

    def remove(self, *, keep_logs: bool) -> None:
        """Remove the whole directory, or all of it but the logs."""
        if not keep_logs:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for entry in self.path.iterdir():
            if entry == self.logs:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


class StackLock:
    """The lock of a stack's directory, held from `acquire` on."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, directory: StackDirectory) -> "StackLock":
        """Lock the directory for this process.

        Raises:
            StackError: another stack has it; the message names its process.
        """
        descriptor = os.open(directory.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_PATIENCE
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise _already_running(directory, _written_pid(directory))
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let the next stack in."""
        os.close(self.descriptor)


def holder(directory: StackDirectory) -> int | None:
    """The process id of the launcher whose stack holds `directory`, or None if no stack does."""
    try:
        descriptor = os.open(directory.lock_file, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        return None if _try_lock(descriptor) else _written_pid(directory)
    finally:
        os.close(descriptor)


def _already_running(directory: StackDirectory, pid: int) -> StackError:
    return StackError(f"a stack is already running in {directory.path} (pid {pid}); end it with `make down`")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written_pid(directory: StackDirectory) -> int:
    """The process id in the lock file; 0 in the instant before its holder has written it."""
    return int(directory.lock_file.read_text().strip() or 0)


def standing() -> StackDirectory:
    """The directory of the stack that `up` starts."""
    return StackDirectory(HOME)


def temporary() -> StackDirectory:
    """A fresh directory for a stack that ends with its command."""
    try:
        HOME.mkdir(exist_ok=True)
        HOME.chmod(0o711)
        return StackDirectory(Path(tempfile.mkdtemp(prefix="tmp-", dir=HOME)))
    except OSError as error:
        raise StackError(f"cannot write {HOME}: {error.strerror}; use a checkout you own") from None


def sweep() -> None:
    """Remove what temporary stacks left that were killed too hard to do it themselves, and old logs of failures."""
    for path in HOME.glob("tmp-*"):
        directory = StackDirectory(path)
        if holder(directory) is not None:
            continue
        age = time.time() - path.stat().st_mtime
        # A directory without state is either being made right now or holds the logs of a failure.
        if directory.state_file.exists() or age > KEPT_LOGS_SECONDS:
            directory.forget()
            shutil.rmtree(path, ignore_errors=True)


def write_private(path: Path, text: str) -> None:
    """Write a file for the owner's eyes, all at once: readers see the old text or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
