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


@dataclass
class _Call:
    """A call, as far as it has come."""

    index: int
    id: str
    name: str
    parts: list[str] = field(default_factory=list)


class _Calls:
    """Puts the calls of a turn together: each comes in pieces, which say by an index to which call they belong."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._latest: dict[int, _Call] = {}

    def take(self, piece: dict[str, Any]) -> str:
        """Take a piece of a call; returns its text, to be counted."""
        index = piece.get("index")
        function = piece.get("function") or {}
        call = self._call_of(
            index if isinstance(index, int) else None, _text(piece.get("id")), _text(function.get("name"))
        )
        arguments = function.get("arguments") or ""
        # A few servers send them parsed.
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        call.parts.append(text)
        return text

    def _call_of(self, index: int | None, identity: str, name: str) -> _Call:
        """Return the call that a piece belongs to.

        Some servers leave the index out, and some give each call the same; what has a name then begins the next one.
        """
        call = self._latest.get(index) if index is not None else (self._calls[-1] if self._calls else None)
        if call is not None and not _begins_another(call, identity, name, counted=index is not None):
            call.id, call.name = call.id or identity, call.name or name
            return call
        if len(self._calls) >= MOST_CALLS:
            raise ModelFailure(f"The model asked for more than {MOST_CALLS} tools at once.")
        call = _Call(len(self._calls) if index is None else index, identity, name)
        self._calls.append(call)
        self._latest[call.index] = call
        return call

    def made(self) -> tuple[AskedCall, ...]:
        """Return the calls, in the order in which the model counts them."""
        ordered = sorted(self._calls, key=lambda call: call.index)
        return tuple(AskedCall(call.id, call.name, "".join(call.parts)) for call in ordered)


def _begins_another(call: _Call, identity: str, name: str, *, counted: bool) -> bool:
    """Whether a piece that comes under a call's index is the first one of another call.

    Args:
        counted: whether it has an index at all.
    """
    other_id = identity not in {"", call.id}
    if counted:
        # An id alone says nothing: there are servers that make one up for each piece.
        return other_id and bool(call.id and name)
    return other_id or bool(name and call.name and not identity)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
