"""What a node does at regular times, beside its work: small chores on one thread, each at its own interval."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

TICK = 0.25
"""Seconds between two looks at what is due."""


@dataclass
class Chore:
    """Something to do again and again."""

    name: str
    interval: float
    """Seconds between two times."""
    do: Callable[[], object]
    done: float = field(default_factory=time.monotonic)


class Housekeeping:
    """A thread that does the chores; one that fails is logged, and tried again at its next time."""

    def __init__(self, chores: list[Chore]) -> None:
        self._chores = chores
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="node-housekeeping", daemon=True).start()

    def stop(self) -> None:
        """End after the chore in hand."""
        self._stopping.set()

    def hurry(self, name: str) -> None:
        """Have a chore done at the next look."""
        for chore in self._chores:
            if chore.name == name:
                chore.done = float("-inf")

    def _run(self) -> None:
        while not self._stopping.wait(TICK):
            for chore in self._chores:
                if time.monotonic() - chore.done < chore.interval:
                    continue
                chore.done = time.monotonic()
                try:
                    chore.do()
                except Exception:  # a store is away; the next time is soon
                    log.exception("chore_failed", chore=chore.name)


def beside(name: str, call: Callable[..., object], *arguments: object) -> None:
    """Do something on a thread of its own: running work gets its time to end, for which nobody else should wait."""

    def carry_out() -> None:
        try:
            call(*arguments)
        except Exception:  # the border of a thread: a store is away, and the next look at the rows tries again
            log.exception("aside_failed", doing=name)

    threading.Thread(target=carry_out, name=f"node-{name}", daemon=True).start()
