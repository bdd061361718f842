"""What one request is to be answered with: a `Script`, read from directives or from a rule."""

from dataclasses import dataclass, fields, replace
from typing import Self

GENERATED = "*"
"""The id of a tool call that gets one of its own each time, as real models do it."""


class ScriptError(ValueError):
    """A directive or rule that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A disturbance, for the first `times` requests only or (None) for all."""

    value: float
    times: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool. Nothing of it need be what a well-behaved model would send."""

    name: str
    arguments: str
    """As text: JSON, unless it was told not to be."""
    id: str | None = GENERATED
    """None: none is sent."""
    index: int | None = None
    """Its number in a stream; None: its place in the turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How to answer. None: not said, so a rule or a default may say it."""

    delay: float | None = None
    """Seconds of the whole answer: one half before its first token, the other spread over the rest."""
    first: float | None = None
    """Seconds before the first token."""
    gap: float | None = None
    """Seconds between two tokens."""
    tokens: int | None = None
    """Answer with exactly this many tokens."""
    say: str | None = None
    """Answer with this text."""
    exact: str | None = None
    """Answer with this text, in which nothing stands for anything else."""
    find: str | None = None
    """A regular expression: what it finds in the system prompt, or its first group, is `{found}` in what is said."""
    on_error: str | None = None
    """Answer with this text instead, and call nothing, if one of the last tool results is an error."""
    fail: Limited | None = None
    """Answer with this HTTP status."""
    retry_after: float | None = None
    """Seconds in the `Retry-After` header of a failure."""
    break_after: Limited | None = None
    """Drop the connection after this many tokens."""
    silent: Limited | None = None
    """Accept the request and send nothing for this many seconds."""
    tools: tuple[ToolCall, ...] = ()
    """Call these tools before anything is said."""
    insist: bool | None = None
    """Call them although the request offers none, or forbids it."""
    piece: int | None = None
    """Characters of a call's arguments in one chunk of a stream."""
    interleave: bool | None = None
    """Stream the calls of a turn side by side instead of one after the other."""
    finish: str | None = None
    """Tell this as the reason why the turn ended."""
    plans: tuple["Script", ...] = ()
    """What the attempts to make a plan are answered with; further ones with the last."""
    then: tuple["Script", ...] = ()
    """What the following turns are answered with; this script is the first one's."""

    @property
    def answers(self) -> bool:
        """Whether it says what to answer, and not only how."""
        return bool(self.tools or self.then) or self.say is not None or self.tokens is not None

    def over(self, base: "Script") -> "Script":
        """This script, completed by what `base` says and this one does not."""
        chosen = {}
        for field in fields(self):
            mine = getattr(self, field.name)
            chosen[field.name] = mine if mine not in (None, ()) else getattr(base, field.name)
        return Script(**chosen)

    def step(self, turn: int) -> "Script":
        """The script of one turn of the model, counted from 0 after the user's message.

        A script without `then` is short for two turns: its calls, and what it says once they have results.
        """
        if self.then:
            return (self, *self.then)[turn].alone() if turn <= len(self.then) else Script()
        if self.tools and turn == 0:
            return replace(self, say=None, on_error=None)
        return replace(self, tools=())

    def alone(self) -> Self:
        """This turn without those that follow it."""
        return replace(self, then=())

    def manner(self) -> Self:
        """How it answers, without what."""
        return replace(self, tokens=None, say=None, find=None, on_error=None, tools=(), finish=None, then=())
