"""What bubblewrap tells of the sandbox: its first process, and the exit code, if the command was started at all."""

import json
import os


class Status:
    """A pipe that bubblewrap writes JSON documents to, one on each line."""

    def __init__(self, fd: int) -> None:
        """Read from `fd`, which does not block.

        Args:
            fd: the reading end; closed by its owner.
        """
        self.fd = fd
        self.first_process: int | None = None
        """The process that all others of the sandbox end with, by its id on the host."""
        self.pid_namespace: int | None = None
        """The inode of its namespace: tells it from another process that got its id later."""
        self.exit_code: int | None = None
        """The command's; `None` if it was not started, or has not ended."""
        self._rest = b""

    def read(self) -> bool:
        """Take what is there; returns whether there may be more later."""
        while True:
            try:
                data = os.read(self.fd, 4096)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, document: dict[str, int]) -> None:
        self.first_process = document.get("child-pid", self.first_process)
        self.pid_namespace = document.get("pid-namespace", self.pid_namespace)
        self.exit_code = document.get("exit-code", self.exit_code)
