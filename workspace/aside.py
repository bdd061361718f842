"""Work done now and then beside a loop that must not wait for it."""

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Aside:
    """Runs something on a thread of its own, at most once in `interval` seconds and never twice at the same time."""

    def __init__(self, name: str, interval: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._interval = interval
        self._clock = clock
        self._begun = clock()
        self._busy = threading.Lock()

    def run(self, work: Callable[[], object]) -> bool:
        """Begin `work` if its time has come and it does not run; returns whether it began. For one caller's thread."""
        now = self._clock()
        if now - self._begun < self._interval or not self._busy.acquire(blocking=False):
            return False
        self._begun = now
        threading.Thread(target=self._carry_out, args=[work], name=self._name, daemon=True).start()
        return True

    def _carry_out(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:  # the border of a thread: what it works with may be away, and the next time is soon
            log.exception("aside_failed", name=self._name)
        finally:
            self._busy.release()
