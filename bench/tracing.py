"""What one message makes the stores do: its SQL statements and Redis commands on one time line."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from bench.client import Timing, callers, send_quota
from bench.stack import Side, Sides

WARM_UP = 5
SETTLE_SECONDS = 0.5
SHOWN = 240
END = "bench:end"
STATEMENT = re.compile(
    r"^\{(?P<database>\w*)\} (?P<at>[\d.]+) .*?duration: (?P<took>\S+) ms +(?:statement|execute \S+): (?P<sql>.*)$"
)


class Step(NamedTuple):
    """Something that happened."""

    at: float
    """Its end, in seconds since the epoch."""
    what: str


def trace(sides: Sides, side: Side) -> str:
    """Send one message, warmed up, and return what happened, in milliseconds from its POST.

    Postgres tells the end of a statement in whole milliseconds, Redis the beginning of a command. What happens at the
    same time for another reason (renewals, polls) is among it.
    """
    log = Path(sides.log_directory) / "postgres.log"
    with _logged_statements(sides.database_url):
        started, timing, commands = asyncio.run(_one(side, sides, log))
        statements = list(_statements(log.read_text(errors="replace"), side.processes.database))
    client = [
        Step(started, "client  POST"),
        Step(started + timing.first, "client  first token"),
        Step(started + timing.final, "client  final event"),
    ]
    steps = sorted([*client, *commands, *statements], key=lambda step: step.at)
    lines = [f"{(step.at - started) * 1000:8.1f}  {step.what[:SHOWN]}" for step in steps]
    counts = f"{len(statements)} SQL statements, {len(commands)} Redis commands"
    return "\n".join([f"{side.name}: {counts}", *lines])


async def _one(side: Side, sides: Sides, log: Path) -> tuple[float, Timing, list[Step]]:
    async with callers(side.lines[:1]) as crowd:
        await send_quota(crowd, side.message("Hello."), WARM_UP)
        await asyncio.sleep(SETTLE_SECONDS)
        with log.open("a") as file:
            file.truncate(0)
        client: Any = sides.redis
        with client.monitor() as monitor:
            started = time.time()
            (timing,) = await send_quota(crowd, side.message("Hello."), 1)
            client.publish(END, "")
            commands = list(_commands(monitor))
        await asyncio.sleep(SETTLE_SECONDS)
    return started, timing, commands


@contextmanager
def _logged_statements(url: str) -> Iterator[None]:
    """Let Postgres log each statement with its database, time and duration."""
    options = {"log_min_duration_statement": "0", "log_line_prefix": "'{%d} %n [%p] '"}
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name, value in options.items():
            cursor.execute(f"ALTER SYSTEM SET {name} = {value}")
        cursor.execute("SELECT pg_reload_conf()")
        time.sleep(SETTLE_SECONDS)
        yield
        for name in options:
            cursor.execute(f"ALTER SYSTEM RESET {name}")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()


def _statements(log: str, database: str) -> Iterator[Step]:
    for line in log.replace("\n\t", " ").splitlines():
        found = STATEMENT.match(line)
        if found and found["database"] == database:
            yield Step(float(found["at"]), f"SQL     {found['took']} ms: {' '.join(found['sql'].split())}")


def _commands(monitor: Any) -> Iterator[Step]:
    while END not in (seen := monitor.next_command())["command"]:
        inside = "in Lua " if seen["client_type"] == "lua" else ""
        yield Step(seen["time"], f"Redis   {inside}{seen['command']}")
