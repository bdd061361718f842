"""A way to Postgres on which the answer to a commit is lost: it went through, and whoever asked for it cannot know."""

import socket
import threading
from dataclasses import dataclass

from tests.support.proxy import Proxy

COMMIT = b"COMMIT\x00"
"""How libpq sends it: a simple query."""


@dataclass
class _Way:
    """One connection."""

    marked: bool = False
    """The statement went by; the next commit is the one."""
    losing: bool = False
    """The commit went by: what comes back is lost."""


class LostAnswers(Proxy):
    """Ends the connection of a commit when its answer comes, once for each time that it is armed."""

    def __init__(self, target: str) -> None:
        self._statement = b""
        self._ways: dict[threading.Barrier, _Way] = {}
        self.lost = threading.Event()
        """An answer was lost since it was armed."""
        super().__init__(target)

    def lose_commit_of(self, statement: bytes) -> None:
        """Lose the answer to the commit of the next transaction in which such a statement is sent."""
        self.lost.clear()
        self._statement = statement

    def _passes(self, source: socket.socket, data: bytes, done: threading.Barrier) -> bool:
        way = self._ways.setdefault(done, _Way())
        if source.getpeername()[:2] == self._target:
            if way.losing:
                self.lost.set()
            return not way.losing
        if self._statement and self._statement in data:
            way.marked, self._statement = True, b""
        way.losing = way.losing or (way.marked and COMMIT in data)
        return True
