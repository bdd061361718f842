"""Both sides on one machine: our whole stack as the launcher starts it, and the floor's two processes beside it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg2
import redis

from bench import machine, usage
from bench.client import BenchError, Line
from bench.floor import channels
from bench.floor.store import Store
from devstack import health, tokens
from devstack.control import Control
from devstack.directory import ROOT, sweep, temporary
from devstack.environment import without_options
from devstack.output import complain, say
from devstack.plan import Options
from devstack.ports import free_ports
from devstack.programs import GUARD
from devstack.session import hold
from devstack.stack import Stack
from devstack.supervision import calls, states

TOKENS = 20
"""Of each answer of the model."""
USERS = 8
"""The callers of our side are spread over this many users, each with an agent."""
AGENT = "helper"
CONCURRENCY = 50
"""The highest limit an agent may have."""
UNLIMITED = "1000000/second"
FLOOR_DATABASE = "floor"
START_SECONDS = 30.0
OPEN_SECONDS = 180.0
"""A thousand channels are two thousand connections."""

NO_LIMITS = {
    "RATE_LIMIT": UNLIMITED,
    "RATE_LIMIT_STREAMS": UNLIMITED,
    "MAX_STREAMS_PER_USER": "1000000",
    "STANDIN_TOKENS": str(TOKENS),
}


@dataclass(frozen=True)
class Side:
    """One of the systems that are compared."""

    name: str
    lines: tuple[Line, ...]
    """A session a caller."""
    body: Mapping[str, str]
    """What a message is sent with, but for its content."""
    processes: usage.Processes

    def message(self, content: str) -> dict[str, str]:
        """Return the body of a message."""
        return {**self.body, "content": content}


@dataclass(frozen=True)
class Sides:
    """All of them, and the stores that they share."""

    ours: Side
    floor: Side
    floor_raw: Side
    redis: redis.Redis
    database_url: str
    log_directory: str
    pids: Mapping[str, int]

    def all(self) -> tuple[Side, ...]:
        """Return the sides in a fixed order."""
        return (self.ours, self.floor, self.floor_raw)


def with_stack(body: Callable[[Stack], int], *, workers: int = 1, options: Mapping[str, str] | None = None) -> int:
    """Start our stack, without its monitor, run `body`, and end the stack whatever happens."""
    sweep()
    user = {**without_options(os.environ), **NO_LIMITS, **(options or {})}

    def run(stack: Stack, control: Control) -> int:
        control.check()
        # The monitor listens to every task's events; it has no part in a message's path.
        _supervisor(stack).stopProcess("flower")
        before = machine.read(program_pids(stack).values())
        try:
            code = body(stack)
        except (BenchError, ExceptionGroup) as error:
            complain(str(_reason(error)))
            return 1
        say(f"The cores in use, by the bench + by others: {_used_since(before, stack)}")
        return code

    return hold(temporary(), Options(temporary=True, workers=workers), user, Control(), run)


def _used_since(before: machine.Reading, stack: Stack) -> machine.Share:
    return before.share(machine.read(program_pids(stack).values()))


def _reason(error: Exception) -> BenchError:
    """Return what went wrong first; a fault of the benchmark itself is raised again."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, BenchError):
        raise error
    return error


def with_sides(callers: int, body: Callable[[Sides], None]) -> int:
    """Start both sides with a session for each of so many callers."""

    def run(stack: Stack) -> int:
        with ExitStack() as exits:
            floor = Floor(stack)
            exits.callback(floor.stop)
            floor.start()
            body(_sides(stack, floor, callers))
        return 0

    return with_stack(run)


def program_pids(stack: Stack) -> dict[str, int]:
    """Return the process id of each program of the stack."""
    return {name: pid for name, (_, pid) in states(_supervisor(stack)).items() if pid}


def our_processes(stack: Stack) -> usage.Processes:
    """Return the processes of the system, with one node."""
    pids = program_pids(stack)
    return usage.Processes(
        web=pids["api"],
        worker=pids["worker1"],
        postgres=pids["postgres"],
        redis=pids["redis"],
        database=_database(stack.facts()["DATABASE_URL"]),
    )


def _supervisor(stack: Stack) -> Any:
    return calls(stack.child_environment()["CODELAB_SUPERVISOR_URL"])


def _sides(stack: Stack, floor: "Floor", callers: int) -> Sides:
    facts, ours = stack.facts(), our_processes(stack)
    theirs = replace(ours, web=floor.web.pid, worker=floor.worker.pid, database=FLOOR_DATABASE)
    return Sides(
        ours=Side("ours", tuple(our_lines(stack, callers)), {"target_agent": AGENT}, ours),
        floor=Side("floor", tuple(floor.lines(callers)), {}, theirs),
        floor_raw=Side("floor-raw", tuple(floor.lines(callers, query="?raw=1")), {}, theirs),
        redis=redis.Redis.from_url(facts["REDIS_URL"]),
        database_url=facts["DATABASE_URL"],
        log_directory=str(stack.directory.logs),
        pids=program_pids(stack),
    )


def _database(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def our_lines(stack: Stack, count: int) -> list[Line]:
    """Make users with an agent each, and a session for each caller."""
    url = stack.facts()["API_URL"]
    lines = []
    for number in range(min(USERS, count)):
        token = tokens.sign(stack.plan.signing, f"bench-{number}")
        headers = (("Authorization", f"Bearer {token}"),)
        with httpx.Client(base_url=url, headers=dict(headers), timeout=30.0, trust_env=False) as client:
            agent = {"name": AGENT, "concurrency_limit": CONCURRENCY}
            client.post("/my/agents/", json=agent).raise_for_status()
            for _ in range(number, count, USERS):
                session = client.post("/my/chat/sessions/", json={}).raise_for_status().json()["id"]
                lines.append(Line(url, f"/my/chat/{session}/message/", f"/my/chat/{session}/events/", headers))
    return lines


class Companion:
    """Programs of the benchmark's own beside the stack; they end with it, and with this process whatever happens."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        (self._port,) = free_ports(1)
        redis_url = stack.facts()["REDIS_URL"]
        self.environment = {
            **stack.plan.variables,
            "FLOOR_REDIS_URL": _redis_database(redis_url, 8),
            "FLOOR_BROKER_URL": _redis_database(redis_url, 9),
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """Where its web process listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def web(self) -> subprocess.Popen[bytes]:
        """The web process."""
        return self._processes[0]

    def start(self) -> None:
        """Start everything and wait for it.

        Raises:
            BenchError: it did not start.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """End everything."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
                continue
            process.kill()
            process.wait()

    def _run_web(self, name: str, app: str) -> None:
        bind = f"127.0.0.1:{self._port}"
        self._run(name, "gunicorn", "-c", "bench/floor/gunicorn_conf.py", "--no-control-socket", "--bind", bind, app)

    def _run(self, name: str, *command: str) -> None:
        guarded = [sys.executable, "-I", "-S", str(GUARD), "--log", str(self._stack.directory.log(name)), "--"]
        process = subprocess.Popen([*guarded, sys.executable, "-m", *command], cwd=ROOT, env=self.environment)
        self._processes.append(process)

    def _await(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise BenchError(f"the floor did not start; see {self._stack.directory.logs}")
            time.sleep(0.05)


class Fanout(Companion):
    """The floor for event streams."""

    def start(self) -> None:
        """Start its one process."""
        self._run_web("floor-fanout", "bench.floor.fanout:create_app()")
        self._await(lambda: health.http_ok(f"{self.url}/health"))


class Channels(Companion):
    """The floor for attached agents: one channel when it has started, so many more when it is told."""

    @property
    def process(self) -> int:
        """The one process."""
        return self._processes[0].pid

    def start(self) -> None:
        """Start it with one channel."""
        self._run("floor-channels", "bench.floor.channels")
        self._await_open(1)

    def open(self, count: int) -> None:
        """Let it have so many channels."""
        with redis.Redis.from_url(self.environment["FLOOR_BROKER_URL"]) as client:
            client.rpush(channels.WANTED, count)
        self._await_open(count)

    def _await_open(self, count: int) -> None:
        with redis.Redis.from_url(self.environment["FLOOR_BROKER_URL"]) as client:
            self._await(lambda: client.get(channels.OPEN) == str(count).encode(), OPEN_SECONDS)


class Floor(Companion):
    """The floor's web process and worker, on databases of their own in the stack's stores."""

    @property
    def worker(self) -> subprocess.Popen[bytes]:
        """The Celery worker."""
        return self._processes[1]

    def start(self) -> None:
        """Make the tables and start both processes."""
        ours = self._stack.facts()["DATABASE_URL"]
        url = urlunsplit(urlsplit(ours)._replace(path=f"/{FLOOR_DATABASE}"))
        self.environment["FLOOR_DATABASE_URL"] = url
        _create_database(ours)
        Store(url, 1).create()
        self._run_web("floor-web", "bench.floor.web:create_app()")
        self._run(
            "floor-worker",
            *("celery", "-A", "bench.floor.queue", "worker", "-P", "threads", "-c", "128", "-n", "floor@bench"),
            *("--without-gossip", "--without-mingle", "-l", "WARNING"),
        )
        self._await(lambda: health.http_ok(f"{self.url}/health"))
        self._await(lambda: _consumes(self.environment["FLOOR_BROKER_URL"]))

    def lines(self, count: int, *, query: str = "") -> list[Line]:
        """Return a session for each caller; the floor takes any name."""
        name = re.sub(r"\W", "", query)
        return [
            Line(self.url, f"/sessions/{_uuid(name, each)}/messages{query}", f"/sessions/{_uuid(name, each)}/events")
            for each in range(count)
        ]


def _create_database(server_url: str) -> None:
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {FLOOR_DATABASE}")
    connection.close()


def _uuid(name: str, number: int) -> str:
    return f"00000000-0000-4000-{'8001' if name else '8000'}-{number:012d}"


def _redis_database(url: str, number: int) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


def _consumes(broker_url: str) -> bool:
    """Whether a worker has bound the floor's queue."""
    with redis.Redis.from_url(broker_url) as client:
        return bool(client.exists("_kombu.binding.floor"))
