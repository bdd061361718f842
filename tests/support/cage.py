"""A sandbox as a deployment has it, and the same attack without one: a control that has to succeed.

A test that only sees an attack fail proves nothing: it may have been a bad attack. So each attack is also run as a
plain process of the account that commands run under, where it gets what it is after.
"""

import os
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest

from workspace.files import WorkspaceFiles
from workspace.names import WorkspaceKey
from workspace.sandbox import (
    CommandResult,
    Identity,
    Limits,
    Sandbox,
    WorkspaceDirectory,
    identity_of_commands,
    profile,
)
from workspace.tools.command_policy import CommandPolicy
from workspace.tools.context import Clock

_NOBODYS = 1_000_000_000 + os.getpid()
IDENTITY: Identity = identity_of_commands(uid=_NOBODYS, gid=_NOBODYS)
"""An account that nobody has, nor another run of the tests."""

PYTHON = "/usr/bin/python3"
"""The one that commands have; the tests' own may be anywhere."""

needs_bubblewrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the worker is root only where the tests are")

EVERYTHING = CommandPolicy(allowed=("*",), denied=())
"""All lists switched off: what holds has to hold by itself."""

LIMITS = Limits(workspace_bytes=64 << 20, workspace_entries=5_000, memory=512 << 20)


def steady_clock(seconds: float = 600) -> Clock:
    """Return the clock of a task that nobody stops."""
    return Clock(check=lambda: None, seconds_left=lambda: seconds)


@dataclass
class Cage:
    """The workspaces of several tenants on one disk, and the sandbox."""

    base: Path
    """Closed to everybody else, as in production, so that the account of commands cannot walk to a workspace."""
    limits: Limits = LIMITS
    key: WorkspaceKey = field(default_factory=lambda: WorkspaceKey(uuid4(), uuid4()))

    def __post_init__(self) -> None:
        self.files = WorkspaceFiles(
            self.base / "workspaces",
            quota_bytes=self.limits.workspace_bytes,
            quota_entries=self.limits.workspace_entries,
            largest_file=1 << 20,
            owner=IDENTITY.owner,
        )
        self.sandbox = Sandbox(IDENTITY, self.limits, policy=EVERYTHING)

    @property
    def workspace(self) -> Path:
        """The attacker's directory, as the host sees it."""
        with self.files.opened(self.key):
            return self.files.path(self.key)

    def neighbour(self) -> "Cage":
        """Return another tenant on the same disk."""
        return replace(self, key=WorkspaceKey(uuid4(), uuid4()))

    def with_limits(self, **changes: float) -> "Cage":
        """Return the same workspaces under other limits."""
        return replace(self, limits=replace(self.limits, **changes))

    def put(self, name: str, text: str = "") -> Path:
        """Put a file into the workspace, as a command would have; returns where the host sees it."""
        path = self.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if IDENTITY.owner is not None:
            for each in (path, *(up for up in path.parents if up.is_relative_to(self.workspace))):
                os.chown(each, *IDENTITY.owner)
        return path

    def run(self, *command: str, timeout: float = 20, clock: Clock | None = None) -> CommandResult:
        """Run a command in the sandbox."""
        directory = WorkspaceDirectory(self.files, self.key)
        return self.sandbox.run(directory, command[0], command[1:], timeout, clock or steady_clock())

    def python(self, code: str, *args: str, timeout: float = 20) -> CommandResult:
        """Run Python code in the sandbox."""
        return self.run(PYTHON, "-c", textwrap.dedent(code), *args, timeout=timeout)

    def shell(self, code: str, *args: str, timeout: float = 20) -> CommandResult:
        """Run shell code in the sandbox."""
        return self.run("sh", "-c", code, "attack", *args, timeout=timeout)


def sandbox_with(change: Callable[[list[str]], list[str]]) -> Sandbox:
    """Return a sandbox whose command line is changed."""

    def arguments(*args: object, **kwargs: object) -> list[str]:
        return change(profile.arguments(*args, **kwargs))  # type: ignore[arg-type]

    return Sandbox(IDENTITY, LIMITS, policy=EVERYTHING, arguments=arguments)


def said(result: CommandResult) -> str:
    """Return everything that a command said."""
    return result.stdout + result.stderr


def uncaged(command: Sequence[str], *, cwd: Path | str = "/", timeout: float = 20) -> str:
    """Run a command as a plain process of the account that commands have, and return everything that it said."""
    account = {} if IDENTITY.is_worker else {"user": IDENTITY.uid, "group": IDENTITY.gid, "extra_groups": []}
    done = subprocess.run(
        command,
        cwd=cwd,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **account,
    )
    return done.stdout + done.stderr


def uncaged_python(code: str, *args: str, cwd: Path | str = "/") -> str:
    """Run Python code as a plain process of the account that commands have."""
    return uncaged([PYTHON, "-c", textwrap.dedent(code), *args], cwd=cwd)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """Make a directory that every account can write to: a control needs a place, and a leak would show there."""
    path = Path(tempfile.mkdtemp(prefix="codelab-open-"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def new_cage() -> Iterator[Cage]:
    """Make a cage on a disk of its own."""
    base = Path(tempfile.mkdtemp(prefix="codelab-cage-"))  # for its owner only
    try:
        yield Cage(base)
    finally:
        subprocess.run(["rm", "-rf", "--", base], check=True)


def processes_of_commands() -> list[str]:
    """Return the command lines of living processes that belong to the account of commands, this one's own left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"\nUid:\t{IDENTITY.uid}\t" in status and "\nState:\tZ" not in status and _is_of_sandbox(status):
                found.append(f"{entry.name}: {line}")
    return found


def _is_of_sandbox(status: str) -> bool:
    """Whether a process was started by a sandbox: none of them can gain privileges, which the tests' own could."""
    return "\nNoNewPrivs:\t1" in status
