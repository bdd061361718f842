"""Text on its way to the reader: pieces of a turn are sent together, one message in each interval."""

import time
from collections.abc import Callable
from typing import NamedTuple

from workspace.events import TaskProgress

SendProgress = Callable[[TaskProgress], None]


class Backoff(NamedTuple):
    """The model is asked again after a while."""

    reason: str
    seconds: float
    attempt: int


TellBackoff = Callable[[Backoff], None]


class Progress:
    """Coalesces pieces of text: the first is sent at once, then at most one in each interval."""

    def __init__(
        self,
        send: SendProgress,
        tell_backoff: TellBackoff,
        *,
        interval: float,
        turn: int,
        first_attempt: int = 1,
    ) -> None:
        self._send = send
        self._tell_backoff = tell_backoff
        self._interval = interval
        self._turn = turn
        self._first_attempt = first_attempt
        self._attempt = first_attempt
        self._offset = 0
        self._waiting: list[str] = []
        self._said: list[str] = []
        self._due = 0.0

    def text(self, piece: str) -> None:
        """Take the next piece."""
        self._waiting.append(piece)
        self._said.append(piece)
        if time.monotonic() >= self._due:
            self.flush()

    def restart(self, attempt: int, reason: str, seconds: float) -> None:
        """Start the turn's text over: the model is asked again, after some seconds."""
        self._waiting.clear()
        self._said.clear()
        self._offset = 0
        self._attempt = self._first_attempt + attempt - 1
        self._tell_backoff(Backoff(reason, seconds, self._attempt))

    @property
    def said(self) -> str:
        """The turn's text so far."""
        return "".join(self._said)

    def flush(self) -> None:
        """Send what waits."""
        if piece := self.take():
            self._send(piece)
            self._due = time.monotonic() + self._interval

    def take(self) -> TaskProgress | None:
        """Return what waits, for the caller to send."""
        text = "".join(self._waiting)
        if not text:
            return None
        self._waiting.clear()
        piece = TaskProgress(text=text, offset=self._offset, turn=self._turn, attempt=self._attempt)
        self._offset += len(text)
        return piece

    def before_wait(self) -> float:
        """Send what is due; return the seconds until something will be."""
        if not self._waiting:
            return self._interval or 0.25
        left = self._due - time.monotonic()
        if left > 0:
            return left
        self.flush()
        return self._interval
