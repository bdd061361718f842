"""Many readers of event streams in one thread: an epoll loop that notes what came when, and understands it later.

asyncio would need longer to wake a thousand readers than the server needs to serve them, and would measure itself.
"""

import resource
import selectors
import socket
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate

from bench.client import BenchError, Line

READ_BYTES = 65_536
BATCH = 50
"""Connections that are opened at once."""
OPEN_SECONDS = 60.0


class Reader:
    """One stream: its bytes, and when they came."""

    def __init__(self, line: Line, request: bytes) -> None:
        self.socket = socket.create_connection(line.address)
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self._parts: list[bytes] = []
        self._times: list[float] = []
        self._ends: list[int] = []

    def read(self) -> None:
        """Take what is there.

        Raises:
            BenchError: the server ended the stream.
        """
        part = self.socket.recv(READ_BYTES)
        if not part:
            raise BenchError(f"a stream ended: {b''.join(self._parts)[-500:].decode()}")
        self._times.append(time.time())
        self._parts.append(part)

    def is_open(self) -> bool:
        """Whether the first frame came; both sides send one once they are subscribed.

        Raises:
            BenchError: the stream was refused.
        """
        head, separator, body = b"".join(self._parts).partition(b"\r\n\r\n")
        if separator and not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"a stream was refused: {head.decode()}")
        return bool(body)

    def bytes(self) -> bytes:
        """Everything that came."""
        self._ends = list(accumulate(len(part) for part in self._parts))
        return b"".join(self._parts)

    def arrival(self, offset: int) -> float:
        """When the byte before `offset` of `bytes()` came, in seconds since the epoch."""
        return self._times[bisect_left(self._ends, offset)]


class Crowd:
    """All readers and the loop that serves them."""

    def __init__(self) -> None:
        self.readers: list[Reader] = []
        self._selector = selectors.DefaultSelector()

    def join(self, line: Line, request: bytes, count: int) -> None:
        """Open so many streams, a few at a time.

        Raises:
            BenchError: one was refused or did not open in time.
        """
        deadline = time.monotonic() + OPEN_SECONDS
        while count:
            batch = [Reader(line, request) for _ in range(min(BATCH, count))]
            count -= len(batch)
            self.readers += batch
            for reader in batch:
                self._selector.register(reader.socket, selectors.EVENT_READ, reader)
            while not all(reader.is_open() for reader in batch):
                self.listen(0.01)
                if time.monotonic() > deadline:
                    raise BenchError(f"only {len(self.readers)} streams opened within {OPEN_SECONDS:.0f} s")

    def listen(self, seconds: float) -> None:
        """Take what comes within so many seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for selected, _ in self._selector.select(left):
                selected.data.read()

    def listen_while_publishing(self, publish: Callable[[int], None], count: int, gap: float) -> None:
        """Publish `count` events, one each `gap` seconds, and listen all the time."""
        for number in range(count):
            publish(number)
            self.listen(gap)

    def close(self) -> None:
        """Close every stream."""
        for reader in self.readers:
            reader.socket.close()
        self._selector.close()


@contextmanager
def crowd() -> Iterator[Crowd]:
    """Hold a crowd of readers, with enough file descriptors for it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    opened = Crowd()
    try:
        yield opened
    finally:
        opened.close()
