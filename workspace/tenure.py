"""What a node knows of a workspace that it hosts: under which epoch, and until when it may be sure of that."""

import time
from collections.abc import Callable

from workspace.space_settings import DEFAULT_SETTINGS, SpaceSettings


class Tenure:
    """One node's hosting of one workspace, from its claim to its end."""

    def __init__(
        self,
        epoch: int,
        *,
        sure_until: float,
        settings: SpaceSettings = DEFAULT_SETTINGS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            epoch: of the claim.
            settings: the owner's, as they were at the claim.
            sure_until: on the clock; until then nobody else can host the workspace.
            clock: seconds that only grow.
        """
        self._clock = clock
        self.epoch = epoch
        self.settings = settings
        self.sure_until = sure_until
        self.hosted_since = clock()
        self.wall_since = self.wall_used = _wall_clock()
        self.last_used = self.hosted_since
        self.suspended = False
        """Whether work is stopped because the claim could not be renewed in time; it may go on when it is."""
        self.closing = False

    def touch(self) -> None:
        """Note that the workspace is used."""
        self.last_used = self._clock()
        self.wall_used = _wall_clock()

    @property
    def idle_seconds(self) -> float:
        """For how long nothing was done in it."""
        return self._clock() - self.last_used

    @property
    def hosted_seconds(self) -> float:
        """For how long it is hosted."""
        return self._clock() - self.hosted_since

    @property
    def is_sure(self) -> bool:
        """Whether nobody else can host it at this moment."""
        return self._clock() < self.sure_until


def _wall_clock() -> float:
    """Return the time for people, to the tenth of a second."""
    return round(time.time(), 1)
