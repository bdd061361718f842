"""Answers in the form of the OpenAI protocol: one JSON object, or a stream of server-sent events."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from itertools import chain, zip_longest
from typing import Any

from devstack.standin.answer import Answer
from devstack.standin.conversation import Conversation
from devstack.standin.script import GENERATED, Script, ToolCall

DONE = b"data: [DONE]\n\n"
ARGUMENT_PIECE = 24
"""Characters of a tool call's arguments that one chunk carries, unless `piece` says another number."""


def usage(conversation: Conversation, answer: Answer) -> dict[str, int]:
    """Tokens of prompt and answer."""
    prompt, completion = conversation.count_tokens(), answer.count_tokens()
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion(conversation: Conversation, answer: Answer) -> dict[str, Any]:
    """The whole answer as one object."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.claims_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [_tool_call(call) for call in answer.tool_calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {**_envelope("chat.completion", conversation), "choices": [choice], "usage": usage(conversation, answer)}


class Chunks:
    """The events of one streamed answer. What all have in common is rendered once."""

    def __init__(self, conversation: Conversation, answer: Answer, script: Script) -> None:
        self._conversation = conversation
        self._answer = answer
        self._script = script
        envelope = _envelope("chat.completion.chunk", conversation)
        if conversation.streams_usage:
            envelope["usage"] = None
        self._envelope = envelope
        head, _, tail = json.dumps({**envelope, "choices": [{"index": 0, "delta": 0}]}).rpartition("0")
        self._head = f"data: {head}"
        self._tail = f', "logprobs": null, "finish_reason": null{tail}\n\n'

    def pieces(self) -> list[bytes]:
        """An event for each token, then one for each part of the tool calls; the first brings the role along."""
        deltas = [f'{{"content": {json.dumps(token)}}}' for token in self._answer.tokens]
        if self._answer.claims_calls:
            deltas += map(json.dumps, _tool_deltas(self._answer, self._script))
        opening = self._event('{"role": "assistant", "content": ""}')
        events = [self._event(delta) for delta in deltas]
        return [opening + events[0], *events[1:]] if events else [opening]

    def end(self) -> bytes:
        """Why it ended, the usage if asked for, and the mark of the end."""
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": self._answer.finish_reason}
        events = [_data({**self._envelope, "choices": [choice]})]
        if self._conversation.streams_usage:
            total = usage(self._conversation, self._answer)
            events.append(_data({**self._envelope, "choices": [], "usage": total}))
        return b"".join((*events, DONE))

    def _event(self, delta: str) -> bytes:
        return f"{self._head}{delta}{self._tail}".encode()


def model(name: str) -> dict[str, Any]:
    """What is told of a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "codelab-core"}


def error(status: int, message: str) -> dict[str, Any]:
    """The body of a failure."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _envelope(kind: str, conversation: Conversation) -> dict[str, Any]:
    identifier = f"chatcmpl-{secrets.token_hex(12)}"
    created = int(time.time())
    return {"id": identifier, "object": kind, "created": created, "model": conversation.model}


def _data(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def _tool_call(call: ToolCall) -> dict[str, Any]:
    described = {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    if call.id is None:
        return described
    return {"id": f"call_{secrets.token_hex(12)}" if call.id == GENERATED else call.id, **described}


def _tool_deltas(answer: Answer, script: Script) -> Iterator[dict[str, Any]]:
    """The calls one after the other, as real models stream them, or a part of each in turn."""
    if not answer.tool_calls:
        # Calls that are announced and do not come.
        yield {"tool_calls": []}
        return
    size = script.piece or ARGUMENT_PIECE
    streams = [_parts(index, call, size) for index, call in enumerate(answer.tool_calls)]
    mixed = chain.from_iterable(zip_longest(*streams)) if script.interleave else chain.from_iterable(streams)
    for part in mixed:
        if part is not None:
            yield {"tool_calls": [part]}


def _parts(place: int, call: ToolCall, size: int) -> Iterator[dict[str, Any]]:
    """Identity first, then the arguments piece by piece."""
    index = place if call.index is None else call.index
    yield {"index": index, **_tool_call(replace(call, arguments=""))}
    for start in range(0, len(call.arguments), size):
        yield {"index": index, "function": {"arguments": call.arguments[start : start + size]}}
