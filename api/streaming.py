"""Answers without an end that is known at their beginning, and bodies that are read as they come."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flask import request

NDJSON: Final = "application/x-ndjson"
WRITE_TIMEOUT: Final = 60.0
READ_TIMEOUT: Final = 60.0
"""Seconds."""


def bound_writes() -> None:
    """Give up on a reader whose connection takes nothing: it would be waited for past every end of its stream."""
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(WRITE_TIMEOUT)


@contextmanager
def bounded_reads() -> Iterator[None]:
    """Give up on a sender whose connection brings nothing: without an end, his request would keep its user's turn."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        yield
        return
    connection.settimeout(READ_TIMEOUT)
    try:
        yield
    finally:
        connection.settimeout(None)  # what is waited for next is another request
