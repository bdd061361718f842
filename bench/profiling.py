"""Where the CPU goes: `py-spy` on a web process and a worker while messages run, as tables of functions.

Only threads that hold the interpreter's lock are sampled: on a busy machine a thread that was interrupted in a system
call looks as if it worked. So the tables share out the process's user time; its system time is told beside it.

py-spy is no dependency of the project: `pip install py-spy` when it is wanted.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench import procfs
from bench.client import BenchError, callers, send_quota
from bench.stack import Side

SAMPLES_A_SECOND = 400
TOP = 40
CALLERS = 8
START_SECONDS = 1.5
"""py-spy reads the process's symbols first."""

FRAME = re.compile(r"(?P<name>.*) \((?P<file>.*):\d+\)")


def profile(side: Side, messages: int) -> str:
    """Run messages under the profiler; returns both processes' tables.

    Raises:
        BenchError: py-spy is not there.
    """
    spy = _spy()
    with tempfile.TemporaryDirectory() as directory:
        files = {name: Path(directory) / name for name in ("web", "worker")}
        pids = {"web": procfs.serving(side.processes.web), "worker": procfs.serving(side.processes.worker)}
        recorders = [_record(spy, pids[name], file) for name, file in files.items()]
        before = {name: procfs.clocks(pid) for name, pid in pids.items()}
        asyncio.run(_load(side, messages, recorders))
        reports = []
        for name, pid in pids.items():
            after = procfs.clocks(pid)
            user = (after.user - before[name].user) * 1000 / messages
            system = (after.system - before[name].system) * 1000 / messages
            title = f"{side.name}, {name}: {user:.2f} ms user and {system:.2f} ms system time a message"
            reports.append(_report(title, files[name].read_text(), user))
        return "\n\n".join(reports)


def _spy() -> str:
    found = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")
    if found is None:
        raise BenchError("--profile needs py-spy: pip install py-spy")
    return found


def _record(spy: str, pid: int, file: Path) -> subprocess.Popen[bytes]:
    command = [spy, "record", "-f", "raw", "-r", str(SAMPLES_A_SECOND), "-d", "3600", "-o", str(file), "-p", str(pid)]
    return subprocess.Popen([*command, "--nonblocking", "--gil"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def _load(side: Side, messages: int, recorders: list[subprocess.Popen[bytes]]) -> None:
    async with callers(side.lines[:CALLERS]) as crowd:
        await asyncio.sleep(START_SECONDS)
        await send_quota(crowd, side.message("Hello."), messages)
    for recorder in recorders:
        recorder.send_signal(2)
    for recorder in recorders:
        await asyncio.to_thread(recorder.wait, 30)


def _report(title: str, raw: str, milliseconds: float) -> str:
    """Own and inclusive time of the functions, in the process's milliseconds a message."""
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    total = 0
    for frames, count in _stacks(raw.splitlines()):
        total += count
        own[frames[-1]] += count
        inclusive.update(dict.fromkeys(frames, count))
    if not total:
        return f"{title}: no samples"
    scale = milliseconds / total
    lines = [f"{title}, {total} samples", "  own ms"]
    lines += [f"  {count * scale:7.3f}  {name}" for name, count in own.most_common(TOP)]
    lines.append("  inclusive ms")
    lines += [f"  {count * scale:7.3f}  {name}" for name, count in inclusive.most_common(TOP * 3)]
    return "\n".join(lines)


def _stacks(lines: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    for line in lines:
        stack, _, count = line.rpartition(" ")
        yield [_short(frame) for frame in stack.split(";")], int(count)


def _short(frame: str) -> str:
    """A frame without its line: a function is one line of the table, wherever it was."""
    found = FRAME.fullmatch(frame)
    if found is None:
        return frame
    file = found["file"]
    for root in (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), sys.path[0]):
        file = file.removeprefix(f"{root}/")
    return f"{found['name']} ({file})"
