"""A whole system beside the stack's, with settings of its own: API, nodes and scheduler over a database of their own.

It shares the servers of the stack (Postgres, Redis, the model) and nothing in them: it has its own database, and its
own numbers in Redis, so neither the stack's node nor its sweeper ever takes part.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import httpx
from celery import Celery
from sqlalchemy import create_engine, make_url, text

from devstack.directory import ROOT
from devstack.programs import CELERY_READY, GUARD, WORKER_QUEUES
from models import Base
from models.database import build_database
from models.tenancy import Database
from settings import Settings, load_settings
from tasks.sender import web_sender
from tests.support.api import ApiClient
from tests.support.processes import _environment, own_api
from tests.support.stack import Stack
from tests.support.waiting import eventually

THREADS = 48
"""Of a node's pool: 32 more than it works on at once."""


@dataclass
class OwnSystem:
    """What a test needs of it."""

    url: str
    secret: str
    http: httpx.Client
    settings: Settings
    options: dict[str, object]
    directory: Path
    database: Database
    control: Celery
    """Sends commands to its nodes, as `celery control` does."""
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Those that were started, by name; the newest is last."""

    def user(self) -> ApiClient:
        """A user whom nobody has seen before."""
        return ApiClient.of(self.http, url=self.url, secret=self.secret)

    @contextmanager
    def node(self, **options: object) -> Iterator[str]:
        """Run one more node; yields its name."""
        name = f"own{uuid4().hex[:8]}@tests"
        log = self.directory / f"{name}.log"
        command = [
            *(sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "threads", "-c", str(THREADS)),
            *("--prefetch-multiplier", "1", "-Q", WORKER_QUEUES, "-n", name, "-l", "INFO"),
            *("--without-gossip", "--without-mingle"),
        ]
        with _process(command, log, self.options | options, signal.SIGTERM) as process:
            self.nodes[name] = process
            eventually(lambda: _is_ready(process, log, CELERY_READY), "the node to be ready", within=90)
            yield name


@contextmanager
def own_system(
    http: httpx.Client, stack: Stack, directory: Path, *, redis_from: int = 8, **options: object
) -> Iterator[OwnSystem]:
    """Run a system with one node.

    Args:
        redis_from: the first of its four numbers in Redis; two systems that run at the same time have different ones.
    """
    with _own_database() as url, ExitStack() as open_parts:
        redis = {
            "REDIS_URL": _numbered(stack.redis_url, redis_from),
            "BROKER_URL": _numbered(stack.redis_url, redis_from + 1),
            "RESULT_BACKEND_URL": _numbered(stack.redis_url, redis_from + 2),
            "CACHE_URL": _numbered(stack.redis_url, redis_from + 3),
        }
        # Its sweeper takes what has no row in its own database for what was left behind.
        data = {"DATA_DIR": directory / "data"}
        own = {"DATABASE_URL": url, "NODE_SLOTS": THREADS - 32, "SWEEP_INTERVAL": 1, **redis, **data, **options}
        settings = load_settings().model_copy(
            update={
                "database_url": url,
                "redis_url": redis["REDIS_URL"],
                "broker_url": redis["BROKER_URL"],
                "cache_url": redis["CACHE_URL"],
            }
        )
        database = build_database(settings, application_name="own-system-tests")
        open_parts.callback(database.close)
        beat = directory / "beat.log"
        schedule = [sys.executable, "-m", "celery", "-A", "tasks", "beat", "-s", str(directory / "schedule")]
        open_parts.enter_context(_process(schedule, beat, own, signal.SIGTERM))
        api = open_parts.enter_context(own_api(http, directory / "api.log", **own))
        control = web_sender(settings)
        open_parts.callback(control.close)
        system = OwnSystem(api, stack.jwt_secret, http, settings, own, directory, database, control)
        open_parts.enter_context(system.node())
        yield system


@contextmanager
def _own_database() -> Iterator[str]:
    settings = load_settings()
    name = f"own_{uuid4().hex}"
    server = create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(settings.database_url).set(database=name).render_as_string(hide_password=False)
    own = create_engine(url)
    Base.metadata.create_all(own)
    own.dispose()
    try:
        yield url
    finally:
        server.dispose()  # the server may have been restarted by another test
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


def _numbered(url: str, number: int) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


@contextmanager
def _process(
    command: list[str], log: Path, options: dict[str, object], end: signal.Signals
) -> Iterator[subprocess.Popen[bytes]]:
    # It does not outlive this process, also if that is killed.
    guarded = [sys.executable, "-I", "-S", str(GUARD), "--log", str(log), "--", *command]
    process = subprocess.Popen(guarded, cwd=ROOT, env=_environment(options))
    try:
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _is_ready(process: subprocess.Popen[bytes], log: Path, sign: re.Pattern[str]) -> bool:
    written = log.read_text() if log.exists() else ""
    assert process.poll() is None, f"the process ended while it started:\n{written}"
    return sign.search(written) is not None
