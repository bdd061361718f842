"""Sparing a store that only makes things faster: after a failure it is left alone for a moment, and told of seldom."""

import time
from collections.abc import Callable

import structlog

from workspace.seldom import Seldom

log = structlog.get_logger(__name__)

PAUSE = 1.0
"""Seconds without a question after a failure: a store that hangs would hold up every caller by its time limit."""
COMPLAINT_INTERVAL = 60.0
"""Seconds between two lines of the log about the same kind of trouble."""


class Sparing:
    """Remembers that a store failed."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent_until = float("-inf")
        self._complaints = Seldom(COMPLAINT_INTERVAL, clock=clock)

    @property
    def is_on(self) -> bool:
        """Whether the store is left alone now."""
        return self._clock() < self._silent_until

    def begin(self, event: str, error: str) -> None:
        """Leave the store alone, and log why."""
        self._silent_until = self._clock() + PAUSE
        self.complain(event, error)

    def complain(self, event: str, error: str) -> None:
        """Log a trouble, but not at each question.

        Args:
            event: what kind of trouble it is.
            error: the trouble, without any value that the store holds.
        """
        held_back = self._complaints.ask(event)
        if held_back is not None:
            log.warning(event, error=error, held_back=held_back)
