"""What the rows say about work: what is open, and when each task began and ended."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg2

from bench.client import BenchError

LOOK_SECONDS = 0.2
OPEN = "SELECT count(*) FROM tasks WHERE finished_at IS NULL AND agent_id::text = ANY(%s)"
WORK = """
SELECT agent_id, created_at, started_at, finished_at, attempts, status FROM tasks
WHERE created_at >= %s AND agent_id::text = ANY(%s) ORDER BY created_at
"""


class Work(NamedTuple):
    """One task as its row tells it."""

    agent: str
    created: datetime
    started: datetime
    finished: datetime
    attempts: int


def maintain(url: str) -> None:
    """Do at once what Postgres' background processes would do later, in the middle of a measurement."""
    query(url, "VACUUM ANALYZE")
    query(url, "CHECKPOINT")


def query(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own."""
    connection = psycopg2.connect(url)
    connection.autocommit = True  # VACUUM asks for it
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


async def all_answered(url: str, agents: Sequence[str], seconds: float) -> None:
    """Wait until these agents have no open task.

    Raises:
        BenchError: some are open after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while (found := (await asyncio.to_thread(query, url, OPEN, list(agents)))[0][0]) > 0:
        if time.monotonic() > deadline:
            raise BenchError(f"{found} messages were not answered within {seconds:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)


def work_since(url: str, since: datetime, agents: Sequence[str]) -> list[Work]:
    """Return these agents' tasks from `since` on.

    Raises:
        BenchError: one of them was not completed.
    """
    found = query(url, WORK, since, list(agents))
    if bad := [row for row in found if row[5] != "completed"]:
        raise BenchError(f"{len(bad)} tasks were not completed, the first is {bad[0][5]}")
    return [Work(str(row[0]), *row[1:5]) for row in found]


class Overlap(NamedTuple):
    """How many tasks were at work at the same time."""

    most: int
    mean: float
    """From the moment when it first was `full` until the last one started: while some waited."""


def overlap(work: Sequence[Work], full: int) -> Overlap:
    """Count the tasks between their start and their end as the rows tell it."""
    moments = sorted([(each.started, 1) for each in work] + [(each.finished, -1) for each in work])
    last_start = max(each.started for each in work)
    most = now = 0
    area = span = 0.0
    since: datetime | None = None
    for moment, change in moments:
        if since is not None and moment <= last_start:
            area += now * (moment - since).total_seconds()
            span += (moment - since).total_seconds()
        now += change
        most = max(most, now)
        since = moment if since is not None or now >= full else None
    return Overlap(most, area / span if span else float(most))


class Use(NamedTuple):
    """How an agent's slots were used while it had tasks that waited, in seconds of slots."""

    used: float
    available: float


def use(work: Sequence[Work], limit: int) -> Use:
    """Return how many of an agent's slots were at work while a task of its own waited, from these rows."""
    moments = sorted(
        change for each in work for change in ((each.created, 1, 0), (each.started, -1, 1), (each.finished, 0, -1))
    )
    waiting = running = 0
    used = span = 0.0
    since = moments[0][0]
    for moment, waits, runs in moments:
        if waiting:
            used += running * (moment - since).total_seconds()
            span += (moment - since).total_seconds()
        waiting += waits
        running += runs
        since = moment
    return Use(used, limit * span)
