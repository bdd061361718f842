"""A command at work in its sandbox, and how it ends: with everything that it started, or not at all."""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from workspace.sandbox.spawning import Process
from workspace.sandbox.status import Status

_PATIENCE: Final = 5.0
"""Seconds for the kernel to end processes that have been killed; it takes milliseconds."""


class Running:
    """bubblewrap outside of the sandbox, which started the sandbox's first process and waits for it.

    All others are in that process's PID namespace, which ends with it. It dies with bubblewrap, a moment later, and in
    its first milliseconds not even that: so it is ended itself, and waited for.
    """

    def __init__(self, process: Process, status: Status, output: tuple[int, int]) -> None:
        """Take over a process.

        Args:
            process: bubblewrap.
            status: what it tells.
            output: where to read its standard output and standard error, and those of the command.
        """
        self.process = process
        self.status = status
        self.output = output
        self._first: int | None = None
        try:
            self.exit = os.pidfd_open(process.pid)
            """Readable when bubblewrap has ended."""
        except OSError:  # there are too many descriptors
            _kill(process)
            raise

    def note_status(self) -> bool:
        """Take what bubblewrap tells; returns whether there may be more later."""
        has_more = self.status.read()
        if self._first is None and self.status.first_process is not None:
            self._first = _descriptor_of(self.status.first_process, self.status.pid_namespace)
        return has_more

    def note_exit(self) -> bool:
        """End what the command left behind: nothing is read from that any more."""
        self.note_status()
        self._kill_first()
        return False

    def end(self) -> None:
        """End all of it, wait until it is gone, and let go of what was held."""
        _kill(self.process)
        os.close(self.exit)
        self.note_status()
        if self._first is not None:
            self._kill_first()
            _await_end(self._first)
            os.close(self._first)
            self._first = None

    def _kill_first(self) -> None:
        if self._first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)


def _kill(process: Process) -> None:
    """End bubblewrap with its group: a sandbox that is being made has not left that yet."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the number is taken until the wait below
    process.wait()


def _descriptor_of(pid: int, namespace: int | None) -> int | None:
    """Return a descriptor of a process, if it is in this namespace: otherwise it ended, and another has its id now."""
    try:
        found = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if Path(f"/proc/{pid}/ns/pid").stat().st_ino == namespace:
            return found
    except OSError:
        pass
    os.close(found)
    return None


def _await_end(process: int) -> None:
    """Wait for the end of a namespace's first process, which comes after that of all others in it."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(_PATIENCE * 1000)
    # Whoever inherited it takes note of its end; that is this process if it is the first one of a container.
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, process, os.WEXITED | os.WNOHANG)
