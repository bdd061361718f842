"""Saying something once in a while although its reason comes again and again."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple


class _Said(NamedTuple):
    until: float
    held_back: int


class Seldom:
    """Says yes once in `interval` seconds for each key, and remembers at most `size` keys."""

    def __init__(self, interval: float, *, size: int = 1_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._size = size
        self._clock = clock
        self._said: OrderedDict[Hashable, _Said] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, key: Hashable = None) -> int | None:
        """Return how often the answer for `key` was no since the last yes, or `None`: not now."""
        now = self._clock()
        with self._lock:
            said = self._said.get(key)
            if said is not None and now < said.until:
                self._said[key] = _Said(said.until, said.held_back + 1)
                return None
            self._said[key] = _Said(now + self._interval, 0)
            self._said.move_to_end(key)
            if len(self._said) > self._size:  # the first is the one that may be said again soonest
                self._said.popitem(last=False)
        return said.held_back if said is not None else 0
