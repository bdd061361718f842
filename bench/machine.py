"""Who used the machine's cores meanwhile: this benchmark with its stack, or programs that have nothing to do with it.

A figure that was taken while others kept the cores busy says little, and nothing else in a report would tell.
"""

import os
from collections.abc import Collection
from typing import NamedTuple

from bench import procfs


class Share(NamedTuple):
    """Parts of all cores' time, between 0 and 1."""

    own: float
    others: float
    """Steal included: what the hypervisor gave to other machines."""

    def __str__(self) -> str:
        return f"{self.own:.0%} + {self.others:.0%}"


class Reading(NamedTuple):
    """CPU clocks at one moment, in seconds."""

    busy: float
    total: float
    own: float

    def share(self, later: "Reading") -> Share:
        """Return who used the cores from this reading to a later one."""
        total = later.total - self.total
        own = (later.own - self.own) / total
        return Share(own, max(0.0, (later.busy - self.busy) / total - own))


def read(pids: Collection[int]) -> Reading:
    """Read the clocks of the machine, of these programs with their children, and of this process."""
    with (procfs.PROC / "stat").open() as stat:
        ticks = [int(field) / procfs.TICK for field in stat.readline().split()[1:9]]
    idle = ticks[3] + ticks[4]
    own = procfs.clocks(os.getpid()).own + sum(map(_tree, pids))
    return Reading(sum(ticks) - idle, sum(ticks), own)


def _tree(pid: int) -> float:
    """A program and its children, those that have ended included."""
    clocks = procfs.clocks(pid)
    used = clocks.own + clocks.ended_children
    for child in procfs.children(pid):
        try:
            used += procfs.clocks(child).own
        except (FileNotFoundError, ProcessLookupError):
            continue
    return used
