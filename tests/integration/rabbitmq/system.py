"""A whole system over RabbitMQ: a web process, nodes and beat of its own, with a database and Redis numbers of its own.

The stack's nodes must not see its rows: sweeps of both would publish them to different brokers.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
import psycopg2

from devstack.directory import ROOT
from devstack.programs import GUARD, WORKER_QUEUES, WORKER_THREADS
from settings import Settings
from tests.support.api import ApiClient
from tests.support.processes import own_api
from tests.support.rabbitmq import RabbitMq
from tests.support.stack import Stack
from tests.support.waiting import eventually

REDIS_DATABASES = {"REDIS_URL": 12, "RESULT_BACKEND_URL": 13, "CACHE_URL": 14}
START_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class System:
    """Where it is, and how to start more of it."""

    rabbitmq: RabbitMq
    options: Mapping[str, str]
    """What differs from the stack's environment."""
    directory: Path
    http: httpx.Client
    api_url: str
    jwt_secret: str

    def user(self) -> ApiClient:
        """Return a new user of this system."""
        return ApiClient.of(self.http, url=self.api_url, secret=self.jwt_secret)

    def settings(self) -> Settings:
        """Return the settings of its processes."""
        return Settings(
            database_url=self.options["DATABASE_URL"],
            redis_url=self.options["REDIS_URL"],
            broker_url=self.options["BROKER_URL"],
        )

    @contextmanager
    def node(self, **options: object) -> Iterator["OwnNode"]:
        """Run one more node."""
        name = f"rabbit-{uuid4().hex[:8]}"
        log = self.directory / f"{name}.log"
        command = (
            "worker", "-P", "threads", "-c", str(WORKER_THREADS), "--prefetch-multiplier", "1", "-Q", WORKER_QUEUES,
            "-n", f"{name}@localhost", "--without-gossip", "--without-mingle", "-l", "INFO",
        )  # fmt: skip
        with _celery(command, log, {**self.options, **options}) as process:
            node = OwnNode(name=f"{name}@localhost", process=process, log=log)
            eventually(node.is_ready, "the node to be ready", within=START_SECONDS, every=0.1)
            yield node


@dataclass(frozen=True, kw_only=True)
class OwnNode:
    """A node that runs."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def is_ready(self) -> bool:
        """Whether it takes work."""
        assert self.process.poll() is None, f"the node ended while it started:\n{self.log.read_text()[-3000:]}"
        return " ready." in self.log.read_text()

    def kill(self) -> None:
        """End it as a failing machine does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def losses(self) -> int:
        """Return how often it lost the broker."""
        return self.log.read_text().count("Connection to broker lost")


@contextmanager
def own_system(stack: Stack, http: httpx.Client, rabbitmq: RabbitMq, directory: Path) -> Iterator[System]:
    """Run a web process and beat over RabbitMQ; nodes are started by who needs them."""
    with ExitStack() as parts:
        database_url = parts.enter_context(_own_database(stack.database_url))
        options = {
            "DATABASE_URL": database_url,
            "BROKER_URL": rabbitmq.url,
            "DATA_DIR": str(directory / "data"),
            "SWEEP_INTERVAL": "1",
            **{
                name: urlunsplit(urlsplit(stack.redis_url)._replace(path=f"/{n}"))
                for name, n in REDIS_DATABASES.items()
            },
        }
        subprocess.run(
            [sys.executable, "-m", "models.migrate"],
            cwd=ROOT,
            env=os.environ | options,
            check=True,
            capture_output=True,
        )
        schedule = str(directory / "beat-schedule")
        parts.enter_context(_celery(("beat", "-s", schedule, "-l", "INFO"), directory / "beat.log", options))
        url = parts.enter_context(own_api(http, directory / "api.log", **options))
        yield System(
            rabbitmq=rabbitmq,
            options=options,
            directory=directory,
            http=http,
            api_url=url,
            jwt_secret=stack.jwt_secret,
        )


@contextmanager
def _own_database(url: str) -> Iterator[str]:
    """Make a database in the stack's server, and remove it."""
    name = f"rabbitmq_{uuid4().hex[:8]}"
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _celery(
    arguments: tuple[str, ...], log: Path, options: Mapping[str, object]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Celery program that does not outlive this process, also if that is killed."""
    environment = os.environ | {name: str(value) for name, value in options.items()}
    command = [sys.executable, "-m", "celery", "-A", "tasks", *arguments]
    guarded = [sys.executable, "-I", "-S", str(GUARD), "--log", str(log), "--", *command]
    process = subprocess.Popen(guarded, cwd=ROOT, env=environment)
    try:
        eventually(log.exists, "the program's log")
        yield process
    finally:
        process.send_signal(signal.SIGKILL)  # its grace is for work, and the test is over
        process.wait(10)
