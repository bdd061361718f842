"""Waiting for a command: reading what it says, and ending it as soon as there is a reason to."""

import selectors
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from workspace.sandbox.output import Output
from workspace.sandbox.running import Running
from workspace.sandbox.watches import Watch
from workspace.tools.context import Clock

_LONGEST_WAIT: Final = 0.2
"""Seconds: a cancel is heard within this time."""


def attend(running: Running, output: Output, watches: Sequence[Watch], *, until: float, clock: Clock) -> bool:
    """Wait until a command has ended or has to.

    Args:
        running: the command; it is left as it is.
        output: takes what it says.
        watches: looked at meanwhile.
        until: when its time is up, on the monotonic clock.
        clock: the task's.

    Returns:
        Whether its time was up.

    Raises:
        Interrupted: the task was stopped.
        ToolError: it used too much.
    """
    due = {watch: time.monotonic() + watch.every for watch in watches}
    with selectors.DefaultSelector() as selector:
        for stream, fd in enumerate(running.output, start=1):
            selector.register(fd, selectors.EVENT_READ, partial(output.take, stream, fd))
        selector.register(running.status.fd, selectors.EVENT_READ, running.note_status)
        selector.register(running.exit, selectors.EVENT_READ, running.note_exit)
        while selector.get_map() and not output.is_full:
            clock.check()
            now = time.monotonic()
            if now >= until:
                return True
            _look(due, now)
            for key, _ in selector.select(max(0.0, min(now + _LONGEST_WAIT, until, *due.values()) - now)):
                if not key.data():
                    selector.unregister(key.fileobj)
    return False


def _look(due: dict[Watch, float], now: float) -> None:
    for watch, moment in due.items():
        if now >= moment:
            watch.look()
            due[watch] = time.monotonic() + watch.every
