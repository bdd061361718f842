"""Waiting for something that will happen: look again until a deadline. Nothing here covers a race with a sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 20.0
"""Seconds until a test gives up: far beyond what is expected, because other work shares the machine."""


def eventually(look: Callable[[], Found], what: str, *, within: float = PATIENCE, every: float = 0.02) -> Found:
    """Return the first truthy value of `look`.

    Raises:
        AssertionError: none came in time; the message says `what` was waited for, and what was seen last.
    """
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:.0f} s; last seen: {seen!r}")
        time.sleep(every)
