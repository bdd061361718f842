"""The one way for a command of an agent to run on this machine.

Model output is untrusted input: whatever a command does, it must not reach another tenant's files, the network, the
worker or the host. The walls are namespaces, an unprivileged account, a system call filter and limits, put up by
bubblewrap for each command and tried out before the first one. There is no way around them and no switch: without
them, no command runs.
"""

import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from workspace.sandbox import profile
from workspace.sandbox.attending import attend
from workspace.sandbox.directory import Directory
from workspace.sandbox.errors import SandboxError
from workspace.sandbox.identity import Identity
from workspace.sandbox.launching import Arguments, Launcher
from workspace.sandbox.leftovers import end_leftovers
from workspace.sandbox.limits import Limits
from workspace.sandbox.output import Output
from workspace.sandbox.probe import first_line, probe
from workspace.sandbox.watches import MAKE_ROOM, FilesWatch, MemoryWatch, TemporaryFilesWatch, Watch, check_disk
from workspace.tools.command_policy import CommandPolicy
from workspace.tools.context import Clock
from workspace.tools.errors import ToolError, ToolErrorCode

log = structlog.get_logger(__name__)

PROBE_AGAIN: Final = 60.0
"""Seconds after a failed probe: whoever installs what was missing need not restart the worker."""

SWEEP_AGAIN: Final = 60.0
"""Seconds between two looks for sandboxes that outlived their worker; one takes some milliseconds."""

MAKES_ROOM: Final = frozenset({"rm", "rmdir", "chmod"})
"""What may run in a workspace that holds too much: it cannot add anything."""


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What became of a command."""

    exit_code: int | None
    """`None` if it was ended before it ended."""
    stdout: str
    stderr: str
    truncated: bool
    """Whether it said more than there was room for; it was ended then."""
    timed_out: bool
    """Whether its time was up; it was ended then."""
    duration_seconds: float


class Sandbox:
    """Runs commands, each in a sandbox of its own."""

    def __init__(
        self,
        identity: Identity,
        limits: Limits,
        *,
        policy: CommandPolicy,
        arguments: Arguments = profile.arguments,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a sandbox; nothing is tried before it is asked for.

        Args:
            identity: the account of commands.
            limits: of each command.
            policy: see `policy`.
            arguments: makes the command line of a sandbox.
            clock: seconds that only grow, for the time between two probes.
        """
        self.policy = policy
        """Which commands the deployment wants: for whoever is asked to run one. No wall depends on it."""
        self._identity = identity
        self._limits = limits
        self._launcher = Launcher(identity, limits, arguments)
        self._clock = clock
        self._lock = threading.Lock()
        self._reason: str | None = "it was not tried yet"
        self._next_probe = float("-inf")
        self._next_sweep = float("-inf")

    @property
    def available(self) -> bool:
        """Whether commands can run here. Tried when it is first asked for, and again a minute after it failed."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why commands cannot run here."""
        if self._is_to_be_tried():
            with self._lock:
                if self._is_to_be_tried():  # else another thread has done it meanwhile
                    self._try()
        return self._reason

    @property
    def known_reason(self) -> str | None:
        """Why commands cannot run here, as it was found when it was last tried: for those who must not wait."""
        return self._reason

    def probe(self) -> bool:
        """Try the sandbox now; returns whether commands can run."""
        with self._lock:
            self._try()
        return self._reason is None

    def run(
        self, workspace: Directory, command: str, args: Sequence[str], timeout: float, clock: Clock
    ) -> CommandResult:
        """Run a command in a workspace, and end everything that it started.

        Args:
            workspace: what it works in.
            command: the program; looked for on the sandbox's own PATH.
            args: its arguments, as they are: no shell reads them.
            timeout: seconds that it may take; less if the limits or the task say so.
            clock: the task's.

        Raises:
            ToolError: `SANDBOX_UNAVAILABLE`, `INVALID_ARGUMENTS`, or `QUOTA_EXCEEDED` where it used too much.
            Interrupted: the task was stopped.
        """
        if (reason := self.reason) is not None:
            raise _unavailable(reason)
        self._sweep()
        line = _checked([command, *args])
        makes_room = command in MAKES_ROOM
        with workspace.opened() as directory:
            if not makes_room:
                check_disk(directory, self._limits.disk_reserve)
                if reason := self._limits.exceeded_by(workspace.usage(clock.check)):
                    raise _exceeded(f"The command was not started: {reason}.")
            try:
                result = self._run(workspace, directory, line, timeout, clock)
            finally:
                workspace.changed()
            if not makes_room and (reason := self._limits.exceeded_by(workspace.usage(clock.check))):
                raise _exceeded(f"The command has ended, but {reason}.")
        return result

    def _run(
        self,
        workspace: Directory,
        directory: int,
        line: list[str],
        timeout: float,
        clock: Clock,
    ) -> CommandResult:
        output = Output(self._limits.output)
        began = time.monotonic()
        until = began + min(timeout, self._limits.timeout, clock.seconds_left())
        with _failures_told(), self._launcher.launched(directory, line) as running:
            watches: list[Watch] = [
                MemoryWatch(running.process.pid, self._limits),
                TemporaryFilesWatch(running.process.pid, self._limits),
            ]
            if line[0] not in MAKES_ROOM:
                watches.append(FilesWatch(running.process.pid, workspace, directory, self._limits, clock.check))
            timed_out = attend(running, output, watches, until=until, clock=clock)
        was_ended = timed_out or output.is_full
        exit_code = running.status.exit_code
        if exit_code is None and not was_ended:
            log.error("sandbox_not_set_up", said=first_line(output.text(2)))
            raise _unavailable("the sandbox could not be set up")
        return CommandResult(
            exit_code=None if was_ended else exit_code,
            stdout=output.text(1),
            stderr=output.text(2),
            truncated=output.is_full,
            timed_out=timed_out,
            duration_seconds=round(time.monotonic() - began, 3),
        )

    def _is_to_be_tried(self) -> bool:
        return self._reason is not None and self._clock() >= self._next_probe

    def _sweep(self) -> None:
        """End what other workers left behind, now and then."""
        if self._clock() >= self._next_sweep:
            self._next_sweep = self._clock() + SWEEP_AGAIN
            if count := end_leftovers(self._identity):
                log.warning("sandbox_leftovers_ended", count=count)

    def _try(self) -> None:
        self._next_sweep = float("-inf")
        try:
            self._sweep()
            probe(self._launcher, self._identity, processes=self._limits.processes)
        except (SandboxError, OSError) as error:
            self._reason = str(error) if isinstance(error, SandboxError) else f"it was not tried ({error.strerror})"
            self._next_probe = self._clock() + PROBE_AGAIN
            log.error("sandbox_unavailable", reason=self._reason)  # noqa: TRY400  # the reason says it all
        else:
            self._reason = None
            log.info("sandbox_available", uid=self._identity.uid)


def _checked(line: list[str]) -> list[str]:
    """Return a command line that the kernel can take."""
    for word in line:
        if "\0" in word or _has_surrogate(word):
            raise ToolError(ToolErrorCode.INVALID_ARGUMENTS, "A command and its arguments have no NUL and are UTF-8.")
    if not line[0]:
        raise ToolError(ToolErrorCode.INVALID_ARGUMENTS, "The command is empty.")
    return line


def _has_surrogate(word: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in word)


@contextmanager
def _failures_told() -> Iterator[None]:
    """Turn what keeps a sandbox from starting into what the model is told."""
    try:
        yield
    except SandboxError as error:
        log.error("sandbox_failed", reason=str(error))  # noqa: TRY400
        raise _unavailable(str(error)) from None
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise ToolError(ToolErrorCode.INVALID_ARGUMENTS, "The command line is too long.") from None
        log.exception("sandbox_failed")
        raise ToolError(
            ToolErrorCode.INTERNAL_ERROR, "The server is too busy to run a command; try again later."
        ) from None


def _exceeded(detail: str) -> ToolError:
    return ToolError(ToolErrorCode.QUOTA_EXCEEDED, f"{detail} {MAKE_ROOM}")


def _unavailable(reason: str) -> ToolError:
    return ToolError(ToolErrorCode.SANDBOX_UNAVAILABLE, f"No command can run here: {reason}.")
