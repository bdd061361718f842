"""What the processes of one side used: CPU time by part, Redis commands, Postgres commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import psycopg2
import redis

from bench import procfs


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of some values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time by part of the system."""

    web: float
    worker: float
    postgres: float
    redis: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.web + self.worker + self.postgres + self.redis


@dataclass(frozen=True)
class Processes:
    """The process ids of one side; the stores are shared by both."""

    web: int
    worker: int
    postgres: int
    redis: int
    database: str
    """Its database: Postgres' server processes are told apart by it."""


@dataclass(frozen=True)
class Reading:
    """CPU clocks at one moment."""

    web: float
    worker: float
    redis: float
    postgres: float
    """The whole server, processes that have ended included."""
    foreign: Mapping[int, float]
    """By process id: Postgres' server processes of other databases."""


def read(processes: Processes) -> Reading:
    """Read the clocks."""
    own = procfs.clocks(processes.postgres)
    total = own.own + own.ended_children
    foreign: dict[int, float] = {}
    for child in procfs.children(processes.postgres):
        try:
            used, title = procfs.clocks(child).own, procfs.title(child)
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += used
        if _is_foreign(title, processes.database):
            foreign[child] = used
    return Reading(
        web=_tree(processes.web),
        worker=_tree(processes.worker),
        redis=procfs.clocks(processes.redis).own,
        postgres=total,
        foreign=foreign,
    )


def used(before: Reading, after: Reading) -> Cpu:
    """Return what one side used between two readings."""
    foreign = sum(seconds - before.foreign.get(pid, 0.0) for pid, seconds in after.foreign.items())
    return Cpu(
        web=after.web - before.web,
        worker=after.worker - before.worker,
        redis=after.redis - before.redis,
        postgres=after.postgres - before.postgres - foreign,
    )


def _tree(pid: int) -> float:
    """A process and its children: gunicorn's, or none."""
    return procfs.clocks(pid).own + sum(procfs.clocks(child).own for child in procfs.children(pid))


def _is_foreign(title: str, database: str) -> bool:
    """Tell by the title `postgres: user database host state`; background processes have no database."""
    words = title.split()
    return len(words) > 3 and "(" in words[3] and words[2] != database


def redis_commands(client: redis.Redis) -> dict[str, int]:
    """Return how often each Redis command was called, those inside scripts included."""
    statistics: Any = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in statistics.items()}


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return what was added, without what was not."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}


def commits(url: str) -> dict[str, int]:
    """Return each database's committed transactions."""
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname, xact_commit FROM pg_stat_database WHERE datname IS NOT NULL")
        found = dict(cursor.fetchall())
    connection.close()
    return found
