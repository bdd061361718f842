"""When must the launcher end? Signals, and the end of the process that started it."""

import os
import signal
from collections.abc import Callable
from types import FrameType

from devstack.environment import of_user
from devstack.errors import StopRequested
from devstack.output import say


class Control:
    """Turns the first signal into `StopRequested`, and later ones into a faster end."""

    def __init__(self, *, detached: bool = False) -> None:
        self._parent = os.getppid()
        # `nohup` says that the stack is to outlive its shell; under make the parent is make, which does the same.
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._bound = not detached and (hangs_up or "MAKELEVEL" in of_user())
        self._hangs_up = hangs_up
        self._abort: Callable[[], None] | None = None

    def install(self) -> None:
        """Handle signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if self._hangs_up:
            signal.signal(signal.SIGHUP, self._on_signal)

    def check(self) -> None:
        """Raise `StopRequested` if the parent is gone. Called in every wait."""
        if self._bound and os.getppid() != self._parent:
            raise StopRequested(signal.SIGHUP)

    def begin_end(self, abort: Callable[[], None]) -> None:
        """From now on a signal cannot interrupt any more; it calls `abort` instead."""
        self._abort = abort

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._abort is not None:
            say("Ending at once.")
            self._abort()
            return
        # Taken once: until `begin_end` a second signal must not break into the handling of the first.
        self._abort = _nothing
        raise StopRequested(signal.Signals(number))


def _nothing() -> None:
    return None
