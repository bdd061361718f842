"""What the server saw: how many requests at once, for each agent and in all. Tests of concurrency limits trust it."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

EXACT = 64
"""Up to this many at once, clients that have gone are never counted. For a crowd, each arrival would look at all the
others, and the few that have just gone do not matter."""


@dataclass(eq=False, slots=True)
class Visit:
    """One request, from its arrival until its answer is sent or its connection closed."""

    has_gone: Callable[[], bool]
    tallies: "tuple[Tally, ...]"

    def leave(self) -> None:
        """The request is over. May be called more than once."""
        for tally in self.tallies:
            tally.open.discard(self)


@dataclass(slots=True)
class Tally:
    """Requests of one key."""

    open: set[Visit] = field(default_factory=set)
    maximum: int = 0
    total: int = 0

    def enter(self, visit: Visit) -> None:
        """Count a request in."""
        self.open.add(visit)
        self.total += 1
        if len(self.open) > self.maximum:
            # Before a new maximum is believed: a client that gave up may not have been noticed yet.
            if len(self.open) <= EXACT:
                self._drop_gone(visit)
            self.maximum = max(self.maximum, len(self.open))

    def _drop_gone(self, visit: Visit) -> None:
        for other in [each for each in self.open if each is not visit and each.has_gone()]:
            other.leave()

    def reset(self) -> None:
        """Start to count anew; open requests stay open."""
        self.maximum = len(self.open)
        self.total = 0

    def report(self) -> dict[str, int]:
        """The numbers."""
        return {"current": len(self.open), "max": self.maximum, "total": self.total}


class Witness:
    """All tallies. Not for threads: the server runs greenlets, and nothing here yields to another."""

    def __init__(self) -> None:
        self._keys: defaultdict[str, Tally] = defaultdict(Tally)
        self._all = Tally()

    def arrive(self, key: str, has_gone: Callable[[], bool]) -> Visit:
        """A request arrives; `has_gone` tells whether its client has closed the connection."""
        visit = Visit(has_gone, (self._keys[key], self._all))
        for tally in visit.tallies:
            tally.enter(visit)
        return visit

    def reset(self) -> None:
        """Start to count anew."""
        for key in [key for key, tally in self._keys.items() if not tally.open]:
            del self._keys[key]
        for tally in (self._all, *self._keys.values()):
            tally.reset()

    def report(self) -> dict[str, object]:
        """The numbers of each key and of all together."""
        keys = {key: tally.report() for key, tally in self._keys.items()}
        return {"keys": keys, "all": self._all.report()}
