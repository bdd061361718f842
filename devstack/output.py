"""Lines for people: progress while the stack starts, and nothing that can break its clean end."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str = "") -> None:
    """Print one line at once; a terminal that went away is no reason to fail."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        pass


def complain(text: str) -> None:
    """Print one error line to standard error."""
    try:
        print(f"error: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


@contextmanager
def progress(name: str, done: str = "ready") -> Iterator[None]:
    """Print `name ... done (0.6 s)` when the block ends without an error."""
    started = time.monotonic()
    yield
    report(name, done, time.monotonic() - started)


def report(name: str, outcome: str, seconds: float) -> None:
    """Print one aligned progress line."""
    say(f"  {name + ' ':.<14} {outcome} ({seconds:.1f} s)")
