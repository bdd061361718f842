"""What one message makes the stores do: every SQL statement and every Redis command, in order."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from bench.client import callers, send_quota
from bench.stack import Side, Sides

SETTLE_SECONDS = 0.5
STATEMENT = re.compile(r"^\{(?P<database>\w*)\} .*?duration: (?P<took>\S+) ms +(?:statement|execute \S+): (?P<sql>.*)$")


def trace(sides: Sides, side: Side) -> str:
    """Send one message, warmed up, and return what it did."""
    log = Path(sides.log_directory) / "postgres.log"
    with _logged_statements(sides.database_url):
        commands = asyncio.run(_one(side, sides, log))
        sql = _statements(log.read_text(errors="replace"), side.processes.database)
    return "\n".join([f"SQL, {side.name}: {len(sql)}", *sql, f"Redis, {side.name}: {len(commands)}", *commands])


async def _one(side: Side, sides: Sides, log: Path) -> list[str]:
    async with callers(side.lines[:1]) as crowd:
        await send_quota(crowd, side.message("Hello."), 5)
        await asyncio.sleep(SETTLE_SECONDS)
        with log.open("a") as file:
            file.truncate(0)
        client: Any = sides.redis
        with client.monitor() as monitor:
            await send_quota(crowd, side.message("Hello."), 1)
            await asyncio.sleep(SETTLE_SECONDS)
            return list(_commands(monitor, client))


@contextmanager
def _logged_statements(url: str) -> Iterator[None]:
    """Let Postgres log each statement with its database and duration."""
    options = {"log_min_duration_statement": "0", "log_line_prefix": "'{%d} %m [%p] '"}
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


def _statements(log: str, database: str) -> list[str]:
    joined = log.replace("\n\t", " ")
    found = (STATEMENT.match(line) for line in joined.splitlines())
    return [
        f"{match['took']:>7} ms  {' '.join(match['sql'].split())}"
        for match in found
        if match and match["database"] == database
    ]


def _commands(monitor: Any, client: Any) -> Iterator[str]:
    client.publish("bench:end", "")
    while True:
        seen = monitor.next_command()
        if "bench:end" in seen["command"]:
            return
        yield f"{seen['db']} {seen['client_type']} {seen['command'][:300]}"
