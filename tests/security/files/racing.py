"""Races: one process exchanges names as fast as it can while another one works on them.

An attack that fails says little by itself. So each race is run against a careless implementation too, which checks a
path and opens it afterwards: where that one leaks within the same time, the race is one that shows leaks.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

MOST_SECONDS = 6.0
"""For each side of a race."""
LEAST_SECONDS = 1.0
PATIENCE = 90.0
"""Seconds until the careless one has to have leaked. It ends with its first leak; where other work takes both cores,
that can be a while."""
TIMES = 3
"""How often as long as the careless one needed for a leak ours has to hold."""

_RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def exchanging(directory: Path, one: str, other: str) -> Iterator[None]:
    """Exchange two names without end, in a process of its own so that it does not wait for ours.

    It holds a descriptor, so that a directory does not escape it by being moved, and looks for a new one in its place
    now and then.
    """
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _exchange_without_end(directory, os.fsencode(one), os.fsencode(other), begun)
        finally:
            os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(begun)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _exchange_without_end(directory: Path, one: bytes, other: bytes, begun: int) -> None:
    parent = os.getppid()
    os.write(begun, b"x")
    while os.getppid() == parent:
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        for _ in range(500):
            _libc.renameat2(fd, one, fd, other, _RENAME_EXCHANGE)
        os.close(fd)


class Outcome(NamedTuple):
    """How a race ended."""

    attempts: int
    leaks: int
    seconds: float


def run(attempt: Callable[[], bool], *, seconds: float, until_leak: bool = False) -> Outcome:
    """Try again and again; `attempt` returns whether something leaked."""
    attempts = leaks = 0
    begin = time.monotonic()
    while time.monotonic() < begin + seconds and not (until_leak and leaks):
        attempts += 1
        leaks += attempt()
    return Outcome(attempts, leaks, time.monotonic() - begin)


def assert_only_the_careless_one_leaks(ours: Callable[[], bool], careless: Callable[[], bool]) -> None:
    """Run a race against both."""
    known_bad = run(careless, seconds=PATIENCE, until_leak=True)
    assert known_bad.leaks, f"the race shows nothing: the careless one did not leak in {known_bad.attempts} attempts"
    outcome = run(ours, seconds=min(max(LEAST_SECONDS, TIMES * known_bad.seconds), MOST_SECONDS))
    assert outcome.leaks == 0
    assert outcome.attempts > 20, "too few attempts to say anything"


def skip_without_exchange(directory: Path) -> None:
    """Skip where the file system cannot exchange names."""
    one, two = (os.fsencode(directory / name) for name in ("one", "two"))
    if _libc.renameat2(-1, one, -1, two, _RENAME_EXCHANGE) != 0:
        pytest.skip(f"names cannot be exchanged here: {os.strerror(ctypes.get_errno())}")
