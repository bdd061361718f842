"""The agent's run loop: ask the model, stream its text, return what came of it.

The runner holds no client of a store: what it needs comes in, what happens goes out through its `Progress`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from workspace.agent_config import AgentConfig
from workspace.errors import RunFailure
from workspace.events import TaskProgress, Usage
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.llm import ModelClient, ModelRequest


@dataclass(frozen=True, kw_only=True)
class Final:
    """The agent has its answer."""

    text: str
    unsent: TaskProgress | None
    """The last piece of the text, which was not due before the end: it is told with the end."""
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The agent could not answer."""

    failure: RunFailure
    usage: Usage
    text: str = ""
    """What it had said when it was stopped."""


Outcome = Final | Failed


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What an agent is asked to do, and within which bounds."""

    agent: str
    """The agent's id, for the model server's accounting."""
    config: AgentConfig
    model: str
    messages: list[dict[str, Any]]
    deadline: float
    """On the monotonic clock."""
    first_attempt: int = 1
    """The number of the first model call: no two pieces of a task's text share turn, attempt and offset."""


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


class AgentRunner:
    """Runs one agent on one assignment."""

    def __init__(self, model: ModelClient, *, progress_interval: float) -> None:
        self._model = model
        self._interval = progress_interval

    def run(self, assignment: Assignment, send: SendProgress, stop: StopSignal, tell_backoff: TellBackoff) -> Outcome:
        """Answer; every failure is an outcome, none is raised."""
        progress = Progress(send, tell_backoff, interval=self._interval, turn=1, first_attempt=assignment.first_attempt)
        watch = Watch(stop, deadline=assignment.deadline, on_wait=progress.before_wait)
        request = ModelRequest(
            model=assignment.model,
            messages=assignment.messages,
            agent=assignment.agent,
            temperature=assignment.config.temperature,
            max_output_tokens=assignment.config.limits.max_output_tokens,
        )
        try:
            turn = self._model.turn(request, progress, watch)
        except Interrupted as interrupt:
            progress.flush()
            return Failed(failure=interrupt.failure, usage=Usage(), text=progress.said)
        except RunFailure as failure:
            return Failed(failure=failure, usage=Usage())
        return Final(text=turn.text, unsent=progress.take(), usage=turn.usage)
