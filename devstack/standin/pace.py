"""When each token is due, and waiting for it without missing that the client has gone."""

import _socket
import socket
import time

from devstack.standin.script import Script

PEEK = int(socket.MSG_PEEK) | int(socket.MSG_DONTWAIT)

LOOK_SECONDS = 0.25
"""How often a long wait looks whether the client is still there."""


def due_times(script: Script, count: int) -> list[float]:
    """Seconds from the request's arrival at which each of `count` tokens is due."""
    first, gap = script.first, script.gap
    if script.delay:
        # One half before the first token and one behind it; a single token is due at the end.
        half = script.delay / 2 if count > 1 else script.delay
        first = half if first is None else first
        gap = (script.delay - half) / (count - 1) if gap is None and count > 1 else gap
    first, gap = first or 0.0, gap or 0.0
    return [first + number * gap for number in range(count)]


class Client:
    """The connection that a request came in on."""

    def __init__(self, connection: socket.socket | None) -> None:
        self._connection = connection

    def has_gone(self) -> bool:
        """Whether the client has closed its side; asks the kernel without waiting."""
        if self._connection is None:
            return False
        try:
            # The C class itself, since gevent's would wait for data; it only borrows the descriptor.
            raw = _socket.socket(fileno=self._connection.fileno())
        except OSError:
            return True
        try:
            return raw.recv(1, PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            raw.detach()

    def wait(self, seconds: float) -> bool:
        """Sleep; False, and early, if the client went away meanwhile."""
        end = time.monotonic() + seconds
        while seconds > LOOK_SECONDS:
            time.sleep(LOOK_SECONDS)
            if self.has_gone():
                return False
            seconds = end - time.monotonic()
        if seconds > 0:
            time.sleep(seconds)
        return True

    def hang_up(self) -> None:
        """Drop the connection in the middle of whatever is being sent.

        Raises:
            ConnectionAbortedError: there is no connection to drop, as in a test without a server.
        """
        if self._connection is None:
            raise ConnectionAbortedError("told to break the connection")
        self._connection.shutdown(socket.SHUT_RDWR)
