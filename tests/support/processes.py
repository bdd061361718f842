"""Processes that a test starts beside the stack's, with options of its own; they end with the test, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from devstack.directory import ROOT
from devstack.ports import free_ports
from devstack.programs import GUARD
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
    # It does not outlive this process, also if that is killed.
    guarded = [sys.executable, "-I", "-S", str(GUARD), "--log", str(log), "--", *command]
    process = subprocess.Popen(guarded, cwd=ROOT, env=_environment({"BIND": f"127.0.0.1:{port}", **options}))
    try:
        eventually(lambda: _answers(http, process, url, log), "the web process's first answer", within=60)
        yield url
    finally:
        # At once: its grace is for clients that wait for answers, and there are none any more.
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(10)
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
