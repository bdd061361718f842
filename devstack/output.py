"""Lines for people: progress while the stack starts, and nothing that can break its clean end."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def say(text: str = "") -> None:
    """Print one line at once; a terminal that went away is no reason to fail."""
    with suppress(OSError, ValueError):
        print(text, flush=True)


def complain(text: str) -> None:
    """Print one error line to standard error."""
    with suppress(OSError, ValueError):
        print(f"error: {text}", file=sys.stderr, flush=True)


@contextmanager
def progress(name: str, done: str = "ready") -> Iterator[None]:
    """Print `name ... done (0.6 s)` when the block ends without an error."""
    started = time.monotonic()
    yield
    report(name, done, time.monotonic() - started)


def report(name: str, outcome: str, seconds: float) -> None:
    """Print one aligned progress line."""
    say(f"  {name + ' ':.<14} {outcome} ({seconds:.1f} s)")
