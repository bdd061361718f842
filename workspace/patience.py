"""Waiting for a database that is away: work that was begun must not be lost to that."""

from collections.abc import Callable
from typing import TypeVar

import tenacity
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

PATIENCE = 120.0
"""Seconds that a task waits for a database that is away."""

Result = TypeVar("Result")


def patiently(call: Callable[[], Result]) -> Result:
    """Ask the database again and again while it is away.

    A write that went through although its answer was lost must change nothing the second time, and tell so. After
    `PATIENCE` the error is raised, and the node ends the task when it finds that the row runs nowhere.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((OperationalError, InterfaceError, PoolTimeout)),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=3.0, jitter=0.2),
        stop=tenacity.stop_after_delay(PATIENCE),
        reraise=True,
    )
    return retrying(call)
