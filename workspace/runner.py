"""The agent's run loop: ask the model, stream its text, let its tools be carried out, until it answers or has to wait.

The runner holds no client of a store and no tool: what it needs comes in, what happens goes out through its ports.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never

from models import Json
from settings import Settings
from workspace.agent_config import AgentConfig
from workspace.errors import BudgetExceeded, RunFailure
from workspace.events import TaskProgress, Usage
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.llm import ModelClient, ModelRequest
from workspace.model_stream import AskedCall
from workspace.progress import Progress, SendProgress, TellBackoff
from workspace.tools.context import Clock
from workspace.tools.transcript import ToolTurn, Waits
from workspace.usage import NO_USAGE, over_budget, total


@dataclass(frozen=True, kw_only=True)
class Final:
    """The agent has its answer."""

    text: str
    unsent: TaskProgress | None
    """The last piece of the text, which was not due before the end: it is told with the end."""
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class CallTools:
    """The agent asks for tools before it goes on."""

    text: str
    calls: tuple[AskedCall, ...]
    usage: Usage
    """Of this turn."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The agent waits for a person or a client; the rows say for what, and bring it back."""

    usage: Usage
    waits: Waits


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The agent could not answer."""

    failure: RunFailure
    usage: Usage
    text: str = ""
    """What it had said when it was stopped."""
    in_tool: bool = False
    """Whether a tool was cut off in the middle: that work can not be taken up again."""


Outcome = Final | Pause | Failed


class Toolbox(Protocol):
    """The tools of one task. Both methods raise `Interrupted` when the task has to stop."""

    definitions: Sequence[Json]
    """What the model is offered."""
    at_work: bool
    """Whether a tool is in use: what is stopped then was cut off in the middle."""

    def past(self, clock: Clock) -> list[ToolTurn] | Waits:
        """Return the turns of the task before this start, the last one finished, if that does not have to wait on."""

    def carry_out(self, number: int, turn: CallTools, clock: Clock) -> ToolTurn | Waits:
        """Carry out what the model asks for in a turn; where that has to wait, the task is parked."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What an agent is asked to do, and within which bounds."""

    agent: str
    """The agent's id, for the model server's accounting."""
    config: AgentConfig
    model: str
    messages: list[dict[str, Any]]
    tools: Toolbox
    deadline: float
    """On the monotonic clock."""
    first_attempt: int = 1
    """The number of the first model call: no two pieces of a task's text share turn, attempt and offset."""
    spent_elsewhere: Callable[[], Usage] = lambda: NO_USAGE
    """Says what other tasks of the same run used until now."""


@dataclass
class _Course:
    """How far a run has come."""

    messages: list[dict[str, Any]]
    usage: Usage = NO_USAGE
    said: list[str] = field(default_factory=list)
    """The texts of the turns so far."""
    turn: int = 1
    """The number of the next one."""

    def add(self, turn: ToolTurn) -> None:
        self.messages.extend(turn.messages())
        self.usage = total(self.usage, turn.usage)
        self.turn = turn.number + 1
        if turn.said:
            self.said.append(turn.said)

    def text(self, last: str) -> str:
        """All that was said, for a run that ends before its answer."""
        return "\n\n".join([*self.said, last] if last else self.said)


class AgentRunner:
    """Runs one agent on one assignment."""

    def __init__(self, model: ModelClient, settings: Settings) -> None:
        self._model = model
        self._settings = settings

    def run(self, assignment: Assignment, send: SendProgress, stop: StopSignal, tell_backoff: TellBackoff) -> Outcome:
        """Answer; every failure is an outcome, none is raised."""
        course = _Course(list(assignment.messages))
        clock = _clock(stop, assignment.deadline)
        try:
            past = assignment.tools.past(clock)
            if isinstance(past, Waits):
                return Pause(usage=course.usage, waits=past)
            for turn in past:
                course.add(turn)
            while True:
                self._check_budget(assignment, course)
                step = self._turn(assignment, course, send, stop, tell_backoff)
                match step:
                    case Final() | Failed():
                        return step
                    case CallTools():
                        done = assignment.tools.carry_out(course.turn, step, clock)
                        if isinstance(done, Waits):
                            return Pause(usage=total(course.usage, step.usage), waits=done)
                        course.add(done)
                    case _:
                        assert_never(step)
        except Interrupted as interrupt:  # among the tools; a turn of the model tells of it by itself
            return Failed(
                failure=interrupt.failure,
                usage=course.usage,
                text=course.text(""),
                in_tool=assignment.tools.at_work,
            )
        except RunFailure as failure:
            return Failed(failure=failure, usage=course.usage)

    def _turn(
        self, assignment: Assignment, course: _Course, send: SendProgress, stop: StopSignal, tell_backoff: TellBackoff
    ) -> Final | CallTools | Failed:
        progress = Progress(
            send,
            tell_backoff,
            interval=self._settings.progress_interval,
            turn=course.turn,
            first_attempt=assignment.first_attempt,
        )
        watch = Watch(stop, deadline=assignment.deadline, on_wait=progress.before_wait)
        request = ModelRequest(
            model=assignment.model,
            messages=course.messages,
            agent=assignment.agent,
            temperature=assignment.config.temperature,
            max_output_tokens=assignment.config.limits.max_output_tokens,
            tools=assignment.tools.definitions,
            must_answer=course.turn >= self._settings.max_turns,
        )
        try:
            turn = self._model.turn(request, progress, watch)
        except Interrupted as interrupt:
            progress.flush()
            return Failed(failure=interrupt.failure, usage=course.usage, text=course.text(progress.said))
        if turn.calls:
            progress.flush()
            return CallTools(text=turn.text, calls=turn.calls, usage=turn.usage)
        return Final(text=turn.text, unsent=progress.take(), usage=total(course.usage, turn.usage))

    def _check_budget(self, assignment: Assignment, course: _Course) -> None:
        """Refuse another turn of a run that used up what it may.

        Raises:
            BudgetExceeded: it did.
        """
        used = total(assignment.spent_elsewhere(), course.usage)
        exceeded = over_budget(used, tokens=self._settings.run_token_budget, cost=self._settings.run_cost_budget)
        if exceeded:
            raise BudgetExceeded(exceeded)


def _clock(stop: StopSignal, deadline: float) -> Clock:
    watch = Watch(stop, deadline=deadline, on_wait=lambda: 0.25)
    return Clock(check=watch.check, seconds_left=lambda: deadline - time.monotonic())
