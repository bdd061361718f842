"""A request about an agent's memory as it travels to the workspace's host, and the reply: JSON, checked at both ends.

    {"request_id": "...", "op": "search", "args": {"agent_name": "coder", ...}, "deadline": 1767225600.5}
    {"value": ...}  or  {"error": {"kind": "invalid_input", "detail": "...", "retry_after": null}}

A request does not say of which workspace: that is the queue's name, so that nothing in it can lead elsewhere.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from workspace.errors import (
    CodelabError,
    DimensionsChanged,
    EmbeddingsUnavailable,
    InvalidInput,
    MemoryUnavailable,
)
from workspace.memory.calls import CALLS, STRICT, Call, Op


class Malformed(Exception):
    """What came is no request, or no reply."""


class _Head(BaseModel):
    model_config = STRICT

    request_id: UUID
    op: Op
    args: Any
    deadline: float


class Request:
    """One request."""

    def __init__(self, raw: str | bytes) -> None:
        """Read the head of it; the arguments are read when they are needed.

        Raises:
            Malformed: it has none.
        """
        try:
            head = _Head.model_validate_json(raw)
        except ValidationError as error:
            raise Malformed(_told(error)) from error
        self.request_id = head.request_id
        self.op = head.op
        self._args = head.args
        self._deadline = head.deadline

    @property
    def seconds_left(self) -> float:
        """For how long somebody waits for the reply, by the clock for people that machines have in common."""
        return self._deadline - time.time()

    def call(self) -> Call:
        """Return what is asked for.

        Raises:
            Malformed: it is nothing that can be asked for.
        """
        try:
            return CALLS[self.op].model_validate_json(to_json(self._args))
        except ValidationError as error:
            raise Malformed(_told(error)) from error


def to_request(request_id: UUID, call: Call, *, seconds: float) -> bytes:
    """Return a request as it is sent.

    Args:
        request_id: names the reply; whoever can guess it can read that.
        call: what is asked for.
        seconds: for which somebody waits for it.
    """
    head = f'{{"request_id":"{request_id}","op":"{call.op}","deadline":{time.time() + seconds:.3f},"args":'
    return b"".join((head.encode(), to_json(call), b"}"))


class Kind(StrEnum):
    """Which error comes back."""

    INVALID_INPUT = "invalid_input"
    EMBEDDINGS_UNAVAILABLE = "embeddings_unavailable"
    DIMENSIONS_CHANGED = "dimensions_changed"
    MEMORY_UNAVAILABLE = "memory_unavailable"
    INTERNAL = "internal"  # the host's log has it


class _Failure(BaseModel):
    model_config = STRICT

    kind: Kind
    detail: str
    retry_after: float | None = None
    expected: str = ""
    got: str = ""


class _Reply(BaseModel):
    model_config = STRICT

    value: Any = None
    error: _Failure | None = None


_ERRORS: dict[Kind, Callable[[_Failure], CodelabError]] = {
    Kind.INVALID_INPUT: lambda told: InvalidInput(told.detail, retry_after=told.retry_after),
    Kind.EMBEDDINGS_UNAVAILABLE: lambda told: EmbeddingsUnavailable(told.detail, retry_after=told.retry_after),
    Kind.DIMENSIONS_CHANGED: lambda told: DimensionsChanged(expected=told.expected, got=told.got),
    Kind.MEMORY_UNAVAILABLE: lambda told: MemoryUnavailable(told.detail, retry_after=told.retry_after),
    Kind.INTERNAL: lambda told: CodelabError(told.detail),
}


def to_reply(call: Call, value: Any) -> bytes:
    """Return what a call has brought as it is sent."""
    return b"".join((b'{"value":', call.result.dump_json(value), b"}"))


def to_failure(error: Exception) -> bytes:
    """Return what went wrong as it is sent; of what nobody expected no detail leaves the host."""
    match error:
        case DimensionsChanged():
            told = _Failure(
                kind=Kind.DIMENSIONS_CHANGED, detail=error.detail, expected=str(error.expected), got=str(error.got)
            )
        case EmbeddingsUnavailable():
            told = _Failure(kind=Kind.EMBEDDINGS_UNAVAILABLE, detail=error.detail, retry_after=error.retry_after)
        case MemoryUnavailable():
            told = _Failure(kind=Kind.MEMORY_UNAVAILABLE, detail=error.detail, retry_after=error.retry_after)
        case InvalidInput():
            told = _Failure(kind=Kind.INVALID_INPUT, detail=error.detail, retry_after=error.retry_after)
        case _:
            told = _Failure(kind=Kind.INTERNAL, detail=CodelabError.__doc__ or "")
    return b"".join((b'{"error":', told.model_dump_json().encode(), b"}"))


def of_reply(call: Call, raw: bytes) -> Any:
    """Return what a call has brought.

    Raises:
        Malformed: it is no reply to it.
        CodelabError: what went wrong, as it was raised on the host.
    """
    try:
        reply = _Reply.model_validate_json(raw)
        if reply.error is None:
            return call.result.validate_json(to_json(reply.value))
    except ValidationError as error:
        raise Malformed(_told(error)) from error
    raise _ERRORS[reply.error.kind](reply.error)


def _told(error: ValidationError) -> str:
    """Return what is wrong, without what came."""
    mistake = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}"
