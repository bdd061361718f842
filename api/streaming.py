"""Answers without an end that is known at their beginning."""

from typing import Final

from flask import request

NDJSON: Final = "application/x-ndjson"
WRITE_TIMEOUT: Final = 60.0
"""Seconds."""


def bound_writes() -> None:
    """Give up on a reader whose connection takes nothing: it would be waited for past every end of its stream."""
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(WRITE_TIMEOUT)
