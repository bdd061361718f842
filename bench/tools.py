"""What the walls around tools cost, for a tool that does next to nothing: `python -m bench.tools`.

A command is `true`, once as a plain child of this process and once in a sandbox; a file has 4 KB, once read through
`WorkspaceFiles` and once by `open`, `read` and `close` of a path that nobody checked. The two take turns, so that what
else the machine does hits them alike. It should do nothing: commands stand back where others want its cores.
No stack is needed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from uuid import uuid4

from bench.report import Table
from bench.usage import percentile
from devstack.output import say
from workspace.files import WorkspaceFiles, WriteMode
from workspace.names import WorkspaceKey
from workspace.sandbox import Limits, Sandbox, WorkspaceDirectory, identity_of_commands
from workspace.tools.command_policy import CommandPolicy
from workspace.tools.context import Clock

UID = 65_532
"""Whom commands run as where this is started by root: the default of `SANDBOX_UID`."""
AT_ONCE = 8
FILE = "src/package/module/deep/file.txt"
"""Five levels, as a source file lies."""
FILE_SIZE = 4_096
WARM_UP = 5
Job = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    commands: int
    reads: int


FULL = Size(commands=200, reads=20_000)
QUICK = Size(commands=40, reads=4_000)


@dataclass
class Pair:
    """Seconds of the same thing, without walls and with them."""

    bare: list[float] = field(default_factory=list)
    walled: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times as long the median takes."""
        return median(self.walled) / median(self.bare)

    @property
    def added(self) -> float:
        """Seconds on top, in the median."""
        return median(self.walled) - median(self.bare)


@dataclass
class Found:
    """What was measured."""

    command: Pair = field(default_factory=Pair)
    together: Pair = field(default_factory=Pair)
    """Of commands of which several run at the same time, by the command."""
    read: Pair = field(default_factory=Pair)


def _go_on() -> None:
    """Nobody stops it."""


class Ground:
    """A workspace with a file, on a disk of its own."""

    def __init__(self, base: Path) -> None:
        identity = identity_of_commands(uid=UID, gid=UID)
        limits = Limits()
        self._key = WorkspaceKey(uuid4(), uuid4())
        self._files = WorkspaceFiles(
            base / "workspaces",
            quota_bytes=limits.workspace_bytes,
            quota_entries=limits.workspace_entries,
            largest_file=1 << 20,
            owner=identity.owner,
        )
        self._files.write(self._key, FILE, b"x" * FILE_SIZE, WriteMode.OVERWRITE)
        self._path = self._files.path(self._key) / FILE
        self._directory = WorkspaceDirectory(self._files, self._key)
        self._clock = Clock(check=_go_on, seconds_left=lambda: 600.0)
        self.sandbox = Sandbox(identity, limits, policy=CommandPolicy(allowed=("*",), denied=()))

    def plain_command(self) -> None:
        """Run `true`."""
        subprocess.run(["true"], stdin=subprocess.DEVNULL, capture_output=True, check=True)

    def sandboxed_command(self) -> None:
        """Run `true` in a sandbox."""
        assert self.sandbox.run(self._directory, "true", [], 60, self._clock).exit_code == 0

    def plain_read(self) -> None:
        """Read the file by its path."""
        fd = os.open(self._path, os.O_RDONLY)
        try:
            assert len(os.read(fd, FILE_SIZE)) == FILE_SIZE
        finally:
            os.close(fd)

    def checked_read(self) -> None:
        """Read the file as a tool does."""
        assert len(self._files.read(self._key, FILE, offset=0, length=FILE_SIZE).data) == FILE_SIZE


def measure(size: Size) -> Found:
    """Measure all of it.

    Raises:
        SystemExit: no command can run here.
    """
    found = Found()
    base = Path(tempfile.mkdtemp(prefix="codelab-bench-"))
    try:
        ground = Ground(base)
        if not ground.sandbox.available:
            raise SystemExit(f"no command can run here: {ground.sandbox.reason}")
        say("  commands, one after another")
        _take_turns(found.command, ground.plain_command, ground.sandboxed_command, size.commands)
        say(f"  commands, {AT_ONCE} at once")
        for _ in range(3):
            found.together.bare.append(_at_once(ground.plain_command, size.commands))
            found.together.walled.append(_at_once(ground.sandboxed_command, size.commands))
        say("  reads")
        _take_turns(found.read, ground.plain_read, ground.checked_read, size.reads)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return found


def _take_turns(pair: Pair, bare: Job, walled: Job, count: int) -> None:
    for number in range(WARM_UP + count):
        seconds = _timed(bare), _timed(walled)
        if number >= WARM_UP:
            pair.bare.append(seconds[0])
            pair.walled.append(seconds[1])


def _timed(job: Job) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def _at_once(job: Job, count: int) -> float:
    """Return the seconds for each of so many jobs, of which some run at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = time.perf_counter()
        for done in [pool.submit(job) for _ in range(count)]:
            done.result()
        return (time.perf_counter() - began) / count


def table(found: Found) -> Table:
    """Return what it costs."""

    def row(name: str, pair: Pair, unit: float) -> list[str]:
        bare, walled = ([seconds * unit for seconds in side] for side in (pair.bare, pair.walled))
        cells = [f"{median(bare):.1f}", f"{median(walled):.1f}", f"{percentile(walled, 95):.1f}"]
        return [name, *cells, f"{pair.added * unit:+.1f}", f"{pair.ratio:.1f}"]

    return Table(
        ["a tool that does next to nothing", "bare", "walled", "p95", "added", "ratio"],
        [
            row("`true`, ms", found.command, 1e3),
            row(f"`true`, {AT_ONCE} at once, ms each", found.together, 1e3),
            row("4 KB of a file, five levels deep, us", found.read, 1e6),
        ],
    )


def run(size: Size, then: Callable[[Found], None]) -> int:
    """Measure, and hand the result on."""
    then(measure(size))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.tools", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer of each")
    options = parser.parse_args(arguments)
    return run(QUICK if options.quick else FULL, lambda found: print(f"\n{table(found).text()}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
