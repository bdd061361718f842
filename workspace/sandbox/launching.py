"""From a command and a directory to a running sandbox."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workspace.sandbox import private_mount, profile, seccomp
from workspace.sandbox.errors import SandboxError
from workspace.sandbox.identity import Identity
from workspace.sandbox.limits import Limits
from workspace.sandbox.profile import Descriptors, Programs
from workspace.sandbox.running import Running
from workspace.sandbox.spawning import Process, spawned
from workspace.sandbox.status import Status

Arguments = Callable[..., list[str]]
"""See `profile.arguments`."""

_PACKAGES = {
    "bwrap": "bubblewrap",
    "choom": "util-linux",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
    "sh": "dash",
}

_OUTER_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
"""A command can read bubblewrap's environment: nothing of the worker's is in it."""


class Launcher:
    """Starts commands, each in a sandbox of its own."""

    def __init__(self, identity: Identity, limits: Limits, arguments: Arguments = profile.arguments) -> None:
        """Make a launcher.

        Args:
            identity: the account of commands.
            limits: of each.
            arguments: makes the command line of a sandbox.
        """
        self._identity = identity
        self._limits = limits
        self._arguments = arguments
        self._programs: Programs | None = None

    @contextmanager
    def launched(self, directory: int, command: Sequence[str]) -> Iterator[Running]:
        """Run a command for as long as the block; whatever is left of it then is ended.

        Args:
            directory: a descriptor of what becomes its workspace.
            command: and its arguments.

        Raises:
            SandboxError: there can be no sandbox.
            OSError: the command line is too long.
        """
        if self._programs is None:
            self._programs = find_programs()  # a fifth of what a command costs this process
        with ExitStack() as meanwhile:
            with ExitStack() as at_first:
                source, enter = self._carried_over(directory, at_first)
                filter_end = _filled_pipe(seccomp.filter_of(), at_first)
                status, told = _pipe(meanwhile, at_first)
                output, printed = _pipe(meanwhile, at_first)
                errors, complained = _pipe(meanwhile, at_first)
                for end in (printed, complained):  # else nobody could open /dev/stdout and /dev/stderr
                    os.fchown(end, self._identity.uid, self._identity.gid)
                descriptors = Descriptors(seccomp=filter_end, status=told)
                line = self._arguments(
                    self._programs,
                    command,
                    identity=self._identity,
                    worker=os.getpid(),
                    source=source,
                    descriptors=descriptors,
                    limits=self._limits,
                )

                def start() -> Process:
                    enter()
                    return _start(line, descriptors, stdout=printed, stderr=complained)

                process = meanwhile.enter_context(spawned(start))
                running = Running(process, Status(status), (output, errors))
                meanwhile.callback(running.end)
            yield running

    def _carried_over(self, directory: int, stack: ExitStack) -> tuple[str, Callable[[], None]]:
        """Return where the account of commands finds the directory, and what its thread has to do for that."""
        path = Path(f"/proc/self/fd/{directory}").readlink()
        if path.is_relative_to("/usr"):
            raise SandboxError("the workspaces are below /usr, which every command can read; move them elsewhere")
        if self._identity.is_worker:
            return str(path), lambda: None
        mount = private_mount.copy_mount(directory)
        stack.callback(os.close, mount)
        return private_mount.PLACE, lambda: private_mount.enter(mount)


def find_programs() -> Programs:
    """Return where the programs that make a sandbox are.

    Raises:
        SandboxError: one of them is nowhere.
    """
    found = {}
    for name, package in _PACKAGES.items():
        path = shutil.which(name)
        if path is None:
            raise SandboxError(f"{package} is not installed (there is no {name} on the PATH)")
        found[name] = path
    return Programs(**found)


def _start(line: list[str], descriptors: Descriptors, *, stdout: int, stderr: int) -> Process:
    return subprocess.Popen(  # noqa: S603  # a list, and what runs it is a sandbox
        line,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=descriptors,
        env=_OUTER_ENVIRONMENT,
        cwd="/",
        umask=0o077,
        start_new_session=True,
    )


def _pipe(meanwhile: ExitStack, at_first: ExitStack) -> tuple[int, int]:
    """Return the end of a pipe, which does not block, and its beginning, which only the other side keeps."""
    end, beginning = os.pipe2(os.O_CLOEXEC)
    meanwhile.callback(os.close, end)
    at_first.callback(os.close, beginning)
    os.set_blocking(end, False)
    return end, beginning


def _filled_pipe(data: bytes, stack: ExitStack) -> int:
    """Return the end of a pipe that holds some bytes, fewer than a pipe takes at once."""
    end, beginning = os.pipe()
    stack.callback(os.close, end)
    try:
        os.write(beginning, data)
    finally:
        os.close(beginning)
    return end
