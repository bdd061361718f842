"""What a command says, as far as there is room for it."""

import os
from typing import Final

CHUNK: Final = 65_536


class Output:
    """The bytes of both streams."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: dict[int, bytearray] = {}
        self.is_full = False
        """Whether there was more than the limit."""

    def take(self, stream: int, fd: int) -> bool:
        """Read what is there from `fd`, once; returns whether there may be more.

        Args:
            stream: 1 for standard output, 2 for standard error.
            fd: where to read; it does not block.
        """
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        room = self._limit - sum(map(len, self._streams.values()))
        self._streams.setdefault(stream, bytearray()).extend(data[:room])
        self.is_full = self.is_full or len(data) > room
        return bool(data)

    def text(self, stream: int) -> str:
        """Return one stream as text that can be stored: what is no UTF-8 is replaced, and so is NUL."""
        return self._streams.get(stream, b"").decode(errors="replace").replace("\0", "\ufffd")
