"""How much is done while something breaks: the long form of `make chaos`, and the short one, part of `make test`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of a test."""

    own_nodes: int
    """Nodes beside those of the stack; each reaches its stores by proxies of its own."""
    users: int
    agents: int
    """Of each user; one more has the work that spans the fault."""
    sessions: int
    """Of each agent."""
    pause: float
    """Seconds between two messages of one user."""
    warm_up: float
    """Seconds of load before the fault."""
    cool_down: float
    """Seconds of load after it."""
    plans: int
    """Of each user, in flight at once."""
    crowd: int
    """Tasks of the test with three nodes."""
    crowd_delay: float
    """Seconds that each of those takes."""


FULL = Scale(
    own_nodes=2,
    users=6,
    agents=3,
    sessions=3,
    pause=0.5,
    warm_up=4.0,
    cool_down=2.0,
    plans=6,
    crowd=2_000,
    crowd_delay=2.0,
)
SHORT = Scale(
    own_nodes=1,
    users=3,
    agents=2,
    sessions=2,
    pause=0.4,
    warm_up=1.5,
    cool_down=0.5,
    plans=3,
    crowd=300,
    crowd_delay=0.5,
)
