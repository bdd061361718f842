"""Keeps a node's claims on its workspaces: renews their leases, and fences the node off where it could not.

Two threads. `renew` talks to Redis, and while Redis does not answer to Postgres. `fence` does no I/O, so that nothing
can keep it from stopping work whose claim may be another node's by now.
"""

import threading
import time
from collections.abc import Callable, Iterable

import redis
import structlog

from settings import Settings
from workspace.claims import Claims
from workspace.hosted_space import HostedSpace
from workspace.leases import Leases
from workspace.metrics import LEASE_RENEWALS
from workspace.names import WorkspaceKey
from workspace.tenure import Tenure

log = structlog.get_logger(__name__)

RETRY = 0.5
"""Seconds until a renewal that failed is tried again."""
LOOK = 0.25
"""Seconds between two looks of the fence."""
ASLEEP = 2.0
"""Seconds between two looks after which the fence takes it that the whole process was stopped."""
LAST_CHANCE = 1.0
"""Seconds that a renewal gets after such a stop, before work is stopped: most often nobody took the workspaces."""
LAST_WORDS = 2.0
"""Seconds that `stop` waits for a renewal that is under way: stores answer sooner, and a node that ends must end."""


class Keeper:
    """Renews, and fences."""

    def __init__(
        self,
        *,
        settings: Settings,
        claims: Claims,
        leases: Leases,
        hosted: Callable[[], Iterable[HostedSpace]],
        is_busy: Callable[[WorkspaceKey], bool],
        resumed: Callable[[], None],
    ) -> None:
        """Take what it needs.

        Args:
            hosted: returns the workspaces that this node hosts.
            is_busy: whether work of a workspace runs here.
            resumed: told when workspaces that were suspended may go on; it must not wait for anything.
        """
        self._interval = settings.node_lease_renewal
        self._fence_after = settings.node_lease_fence
        self._claims = claims
        self._leases = leases
        self._hosted = hosted
        self._is_busy = is_busy
        self._resumed = resumed
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._renewed = threading.Event()
        self._threads = [
            threading.Thread(target=body, name=f"node-{name}", daemon=True)
            for name, body in (("keeper", self._keep), ("fence", self._fence))
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; after it no lease is written that the caller gives away."""
        self._stopping.set()
        self._wanted.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(LAST_WORDS)

    # -- renewing --------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                on_time = self.renew()
            except Exception:  # whatever it is, the next attempt comes soon and the fence is there
                log.exception("renewal_failed")
                on_time = False
            self._wanted.wait(self._interval if on_time else RETRY)
            self._wanted.clear()

    def renew(self) -> bool:
        """Renew the claims on all hosted workspaces; returns whether Redis answered."""
        began = time.monotonic()
        spaces = {space.key: (space, tenure) for space in self._hosted() if (tenure := space.tenure) is not None}
        try:
            renewal = self._leases.renew(self._claims.node_id, spaces)
        except redis.RedisError as error:
            log.warning("leases_not_renewed", error=repr(error))
            LEASE_RENEWALS.labels("without_redis").inc()
            self._extend(spaces, began)
            return False
        own = self._claims.own(renewal.retaken) if renewal.retaken else {}
        stray: list[WorkspaceKey] = []
        resumed = False
        for key, (space, tenure) in spaces.items():
            if key in renewal.lost:
                _lose(space, tenure)
            elif key in renewal.retaken and own.get(key) != tenure.epoch:
                # Also when it was closed meanwhile: the renewal wrote the lease of a workspace that is free.
                if _lose(space, tenure) or key not in own:
                    stray.append(key)
            elif space.tenure is tenure:
                resumed |= space.renewed(began + self._fence_after)
        if resumed:
            self._resumed()
        self._leases.release(self._claims.node_id, stray)
        LEASE_RENEWALS.labels("renewed").inc()
        self._renewed.set()
        return True

    def _extend(self, spaces: dict[WorkspaceKey, tuple[HostedSpace, Tenure]], began: float) -> None:
        """Keep what work runs in by way of Postgres: Redis being away does not kill work."""
        busy = {key for key in spaces if self._is_busy(key)}
        own = self._claims.extend(busy)
        for key in busy:
            space, tenure = spaces[key]
            if own.get(key) != tenure.epoch:
                _lose(space, tenure)
            elif space.tenure is tenure:
                space.renewed(began + self._fence_after)

    # -- fencing ---------------------------------------------------------------------------------------------

    def _fence(self) -> None:
        looked = time.monotonic()
        while not self._stopping.wait(LOOK):
            now = time.monotonic()
            if now - looked > ASLEEP:
                log.warning("node_was_stopped", seconds=round(now - looked, 1))
                self._renewed.clear()
                self._wanted.set()
                self._renewed.wait(LAST_CHANCE)
            looked = time.monotonic()
            for space in self._hosted():
                tenure = space.tenure
                if tenure is not None and not tenure.is_sure:
                    space.suspend()


def _lose(space: HostedSpace, tenure: Tenure) -> bool:
    """Let a workspace go, unless it was closed or opened anew since; returns whether it was let go."""
    if space.tenure is not tenure:
        return False
    space.lose()
    return True
