"""Processes that a test starts beside the stack's, with options of its own; they end with the test, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx

from devstack.directory import ROOT
from devstack.ports import free_ports
from devstack.programs import GUARD, worker_command, worker_is_ready
from tests.support.waiting import eventually


@contextmanager
def own_api(http: httpx.Client, log: Path, **options: object) -> Iterator[str]:
    """Run one more web process as the stack does, over the stack's stores.

    Args:
        http: asks whether it is up.
        log: takes its output.
        options: settings that differ from the stack's, by their names in the environment.

    Yields:
        Its address.
    """
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", "-c", "api/gunicorn_conf.py", "api.app:create_app()"]
    process = _start(command, log, {"BIND": f"127.0.0.1:{port}", **options})
    try:
        eventually(lambda: _answers(http, process, url, log), "the web process's first answer", within=60)
        yield url
    finally:
        # At once: its grace is for clients that wait for answers, and there are none any more.
        _end(process, signal.SIGQUIT)


class OwnNode:
    """One more node: a Celery worker over the stack's stores."""

    def __init__(self, log: Path, options: Mapping[str, object]) -> None:
        self.log = log
        self.name = f"own-{uuid4().hex[:8]}@tests"
        """The worker's name, which its node's id begins with."""
        self._process = _start(list(worker_command(self.name)), log, options)

    @property
    def pid(self) -> int:
        """Its process: workers with threads have one."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def is_called(self, node_id: str | None) -> bool:
        """Whether a node's id, as rows have it, is this one's."""
        return node_id is not None and node_id.startswith(f"{self.name}:")

    def await_ready(self, within: float = 60.0) -> None:
        """Wait until it takes work."""

        def ready() -> bool:
            assert self.is_running, f"the node ended while it started:\n{self.log.read_text()[-5_000:]}"
            return worker_is_ready(self.log)

        eventually(ready, "a node's start", within=within, every=0.05)

    def await_end(self, within: float) -> None:
        """Wait until its process is gone.

        Raises:
            AssertionError: it is not, in time.
        """
        eventually(lambda: not self.is_running, f"the end of {self.name}", within=within)

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, patience: float = 10.0) -> None:
        """End it as a deployment does, then by force."""
        _end(self._process, signal.SIGTERM, patience)


@contextmanager
def own_node(log: Path, **options: object) -> Iterator[OwnNode]:
    """Run one more node as the stack does, over the stack's stores; it takes work once it is ready.

    Args:
        log: takes its output.
        options: settings that differ from the stack's, by their names in the environment.
    """
    node = OwnNode(log, options)
    try:
        yield node
    finally:
        node.end()


def _start(command: list[str], log: Path, options: Mapping[str, object]) -> subprocess.Popen[bytes]:
    """Start a program that does not outlive the thread which called this, also if that is killed."""
    guarded = [sys.executable, "-I", "-S", str(GUARD), "--log", str(log), "--", *command]
    return subprocess.Popen(guarded, cwd=ROOT, env=_environment(options))


def _end(process: subprocess.Popen[bytes], number: signal.Signals, patience: float = 10.0) -> None:
    if process.poll() is None:
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a test may have stopped it
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _environment(changes: Mapping[str, object]) -> dict[str, str]:
    return os.environ | {name: str(value) for name, value in changes.items()}


def _answers(http: httpx.Client, process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    assert process.poll() is None, f"the web process ended while it started:\n{log.read_text()}"
    try:
        return http.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False
