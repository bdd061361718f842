"""Reading the stream of a model's answer: text, calls of tools, usage, and what is none of these."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from workspace.errors import ModelFailure
from workspace.metrics import MODEL_FIRST_TOKEN

LONGEST_LINE = 1_000_000
LONGEST_TEXT = 1_000_000
"""Bytes and characters: far beyond what a model writes in one turn, far below what hurts a node."""
MOST_CALLS = 64
"""Of tools in one turn; the protocol's own servers stop at 128, and no honest turn comes near."""
MOST_TOKENS = 2**31


class AskedCall(NamedTuple):
    """A tool that the model asks for, as it said it: nothing of this is checked."""

    id: str
    name: str
    arguments: str


class TurnSink(Protocol):
    """Who is told of text as it arrives."""

    def text(self, piece: str) -> None:
        """Take the next piece."""

    def restart(self, attempt: int, reason: str, seconds: float) -> None:
        """Forget the pieces so far: the model is asked again, in some seconds."""


class PassingError(Exception):
    """The call failed in a way that may pass."""

    def __init__(self, reason: str, detail: str, retry_after: float | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(detail)


class _Calls:
    """Puts the calls of a turn together: each comes in pieces, which say by an index to which call they belong."""

    def __init__(self) -> None:
        self._parts: dict[int, list[str]] = {}
        self._ids: dict[int, str] = {}
        self._names: dict[int, str] = {}

    def take(self, piece: dict[str, Any]) -> str:
        """Take a piece of a call; returns its text, to be counted."""
        index = piece.get("index")
        if not isinstance(index, int):
            # Some servers leave it out, and send each call whole.
            index = len(self._parts) if piece.get("id") or not self._parts else len(self._parts) - 1
        if index not in self._parts and len(self._parts) >= MOST_CALLS:
            raise ModelFailure(f"The model asked for more than {MOST_CALLS} tools at once.")
        parts = self._parts.setdefault(index, [])
        if isinstance(identity := piece.get("id"), str) and identity:
            self._ids.setdefault(index, identity)
        function = piece.get("function") or {}
        if isinstance(name := function.get("name"), str) and name:
            self._names.setdefault(index, name)
        arguments = function.get("arguments") or ""
        # A few servers send them parsed.
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        parts.append(text)
        return text

    def made(self) -> tuple[AskedCall, ...]:
        """Return the calls, in the order in which the model counts them."""
        return tuple(
            AskedCall(self._ids.get(index, ""), self._names.get(index, ""), "".join(parts))
            for index, parts in sorted(self._parts.items())
        )


@dataclass
class Reading:
    """Collects the chunks of one answer."""

    sink: TurnSink
    check: Callable[[], None]
    started: float = field(default_factory=time.perf_counter)
    pieces: list[str] = field(default_factory=list)
    calls: _Calls = field(default_factory=_Calls)
    length: int = 0
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def take(self, data: bytes) -> None:
        """Take the data of one server-sent event."""
        self.check()
        if data == b"[DONE]":
            return
        try:
            chunk = json.loads(data)
            if error := chunk.get("error"):
                raise _explain_body(error)
            self._take_choices(chunk.get("choices") or ())
            if usage := chunk.get("usage"):
                self.prompt_tokens = _count(usage.get("prompt_tokens"))
                self.completion_tokens = _count(usage.get("completion_tokens"))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelFailure("The model's server sent what is not the OpenAI protocol.") from error

    def _take_choices(self, choices: Sequence[dict[str, Any]]) -> None:
        for choice in choices[:1]:
            delta = choice.get("delta") or {}
            piece = delta.get("content")
            if piece:
                if not self.pieces:
                    MODEL_FIRST_TOKEN.observe(time.perf_counter() - self.started)
                piece = storable(piece)
                self._count(piece)
                self.pieces.append(piece)
                self.sink.text(piece)
            if calls := delta.get("tool_calls"):
                for call in calls:
                    self._count(self.calls.take(call))
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _count(self, piece: str) -> None:
        self.length += len(piece)
        if self.length > LONGEST_TEXT:
            raise ModelFailure("The model's answer is too long to be kept.")


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream, ended by a line feed alone: JSON may hold whatever else ends lines elsewhere.

    Raises:
        ModelFailure: one line is longer than any honest one.
    """
    rest = b""
    for chunk in chunks:
        *complete, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        yield from complete
        if len(rest) > LONGEST_LINE:
            raise ModelFailure("The model's server sent a line without end.")
    if rest:
        yield rest


def _count(value: object) -> int:
    """Return a number of tokens; what is no such number counts as none."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else 0


def storable(text: str) -> str:
    """Replace what PostgreSQL and UTF-8 cannot hold: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _explain_body(error: Any) -> Exception:
    detail = str(error.get("message", "unknown") if isinstance(error, dict) else error)[:300]
    return PassingError("stream_error", f"The model's server broke off: {storable(detail)}")
