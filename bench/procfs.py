"""Processes as the Linux kernel accounts for them: CPU time, memory, children."""

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Clocks(NamedTuple):
    """Seconds of CPU time of one process, all its threads included."""

    user: float
    system: float
    ended_children: float
    """Of children that were waited for, and theirs."""

    @property
    def own(self) -> float:
        """Without the children."""
        return self.user + self.system


def clocks(pid: int) -> Clocks:
    """Return a process's CPU time.

    Raises:
        FileNotFoundError: there is no such process.
    """
    user, system, ended_user, ended_system = (int(ticks) / TICK for ticks in _stat(pid)[11:15])
    return Clocks(user, system, ended_user + ended_system)


def children(pid: int) -> list[int]:
    """Return the process ids of a process's living children."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                if int(_stat(int(entry.name))[1]) == pid:
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return sorted(found)


def title(pid: int) -> str:
    """Return a process's command line, or what it wrote there.

    Raises:
        FileNotFoundError: there is no such process.
    """
    return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes.

    Raises:
        FileNotFoundError: there is no such process.
    """
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE


class Memory(NamedTuple):
    """Bytes of memory of one process."""

    proportional: int
    """Its own pages, and its share of those that other processes use as well."""
    unique: int
    """What would be free without it."""


def memory(pid: int) -> Memory:
    """Return what memory a process takes.

    Raises:
        FileNotFoundError: there is no such process.
    """
    lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
    return Memory(kilobytes["Pss"] * 1024, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) * 1024)


def serving(pid: int) -> int:
    """Return the process that does the work: gunicorn's only child, or the process itself."""
    return next(iter(children(pid)), pid)


def _stat(pid: int) -> list[str]:
    """Return the fields of `stat` from the third on: the second is a name that may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
