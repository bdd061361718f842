"""Building an index, in a process of its own: it takes seconds to minutes, and nobody else's memory should wait.

The engine gives the collection away for so long. Nothing is lost if the process is killed: the new segment takes its
place only when it is whole.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from workspace.memory.edge.shard import Shard

ROOT = Path(__file__).resolve().parents[3]
"""Where this program's packages are: `-m` finds them there, wherever the process was started."""
_PR_SET_PDEATHSIG = 1
_PRIORITY = 5
"""A little behind everything else of the node; far behind, an agent would be without its memory for long."""


class Build:
    """A build under way."""

    def __init__(self, shard: Path, dimensions: int) -> None:
        command = [sys.executable, "-m", "workspace.memory.edge", "build", str(shard.resolve()), str(dimensions)]
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self.handle = os.pidfd_open(self._process.pid)
        """Can be waited for like a file."""

    def result(self) -> int | None:
        """Return the exit status, or `None` while it is at work."""
        return self._process.poll()

    def stop(self) -> None:
        """End it. What it did so far is lost, what was there before is not."""
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Let go of the handle."""
        os.close(self.handle)


def build(shard: Path, dimensions: int) -> None:
    """Be that process."""
    if sys.platform == "linux":
        # The engine holds the collection's lock and would leave this process behind with the engine's own one.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_PRIORITY)
    opened = Shard.open(shard, dimensions)
    opened.optimize()
    opened.close()
