"""Answers in the form of the OpenAI protocol: one JSON object, or a stream of server-sent events."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from devstack.standin.answer import Answer
from devstack.standin.conversation import Conversation
from devstack.standin.script import ToolCall

DONE = b"data: [DONE]\n\n"
ARGUMENT_PIECE = 24
"""Characters of a tool call's arguments that one chunk carries."""


def usage(conversation: Conversation, answer: Answer) -> dict[str, int]:
    """Tokens of prompt and answer."""
    prompt, completion = conversation.count_tokens(), answer.count_tokens()
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion(conversation: Conversation, answer: Answer) -> dict[str, Any]:
    """The whole answer as one object."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["content"] = None
        message["tool_calls"] = [_tool_call(call) for call in answer.tool_calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {**_envelope("chat.completion", conversation), "choices": [choice], "usage": usage(conversation, answer)}


class Chunks:
    """The events of one streamed answer. What all have in common is rendered once."""

    def __init__(self, conversation: Conversation, answer: Answer) -> None:
        self._conversation = conversation
        self._answer = answer
        envelope = _envelope("chat.completion.chunk", conversation)
        if conversation.streams_usage:
            envelope["usage"] = None
        self._envelope = envelope
        head, _, tail = json.dumps({**envelope, "choices": [{"index": 0, "delta": 0}]}).rpartition("0")
        self._head = f"data: {head}"
        self._tail = f', "logprobs": null, "finish_reason": null{tail}\n\n'

    def pieces(self) -> list[bytes]:
        """An event for each token, or for each part of the tool calls; the first brings the role along."""
        if self._answer.tool_calls:
            deltas = [json.dumps(delta) for delta in _tool_deltas(self._answer.tool_calls)]
        else:
            deltas = [f'{{"content": {json.dumps(token)}}}' for token in self._answer.tokens]
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
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def _tool_deltas(calls: tuple[ToolCall, ...]) -> Iterator[dict[str, Any]]:
    """Each call as real models stream it: identity first, then the arguments piece by piece."""
    for index, call in enumerate(calls):
        opening = _tool_call(ToolCall(call.name, ""))
        yield {"tool_calls": [{"index": index, **opening}]}
        for start in range(0, len(call.arguments), ARGUMENT_PIECE):
            part = call.arguments[start : start + ARGUMENT_PIECE]
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
