"""The stack's own programs, to be stopped, killed and ended by tests. The supervisor starts again what has ended."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import redis

from tests.support.stack import Stack


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process hang for the block, as a machine that is out of reach does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def redis_pid(store: redis.Redis) -> int:
    """Return the process of the stack's Redis."""
    return int(store.info("server")["process_id"])


def answers(store: redis.Redis) -> bool:
    """Whether Redis is there."""
    try:
        return bool(store.ping())
    except redis.RedisError:
        return False


def model_pid(stack: Stack) -> int:
    """Return the process of the stand-in that serves: gunicorn's parent only watches it."""
    address = stack.model_url.removeprefix("http://").partition("/")[0]
    for process in psutil.process_iter(["cmdline", "pid"]):
        command = process.info["cmdline"] or []
        if address in command and "devstack.standin.app:create_app()" in command:
            children = process.children()
            return int(children[0].pid if children else process.pid)
    raise AssertionError("the stack's stand-in model was not found")


def worker_pids(stack: Stack) -> list[int]:
    """Return the processes of the stack's own nodes, as they are now."""
    return _pids(stack, "WORKER_PIDS")


def api_pid(stack: Stack) -> int:
    """Return the process of the stack's API, as it is now."""
    (pid,) = _pids(stack, "API_PID")
    return pid


def _pids(stack: Stack, name: str) -> list[int]:
    for line in (stack.directory / "env").read_text().splitlines():
        if line.startswith(f"{name}="):
            return [int(pid) for pid in line.partition("=")[2].strip('"').split()]
    raise AssertionError(f"the stack names no {name}")


def database_pid(stack: Stack) -> int:
    """Return the parent of all processes of the stack's Postgres. SIGINT is its fast shutdown."""
    port = stack.database_url.rpartition(":")[2].partition("/")[0]
    for process in psutil.process_iter(["cmdline", "pid"]):
        command = process.info["cmdline"] or []
        if command and command[0].endswith("postgres") and f"port={port}" in command:
            return int(process.info["pid"])
    raise AssertionError("the stack's Postgres was not found")
