"""The floor's model call: what everybody writes with the `openai` SDK, and the same with its raw stream.

The SDK builds a pydantic object for each chunk. Codelab Core reads the raw stream, so both floors are measured and
nobody can say that only this made the difference.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import openai
from openai.types.chat import ChatCompletionMessageParam

from bench.floor.options import MODEL


class Piece(NamedTuple):
    """A piece of text, or the usage at the end."""

    text: str = ""
    usage: dict[str, int] | None = None


@cache
def client() -> openai.OpenAI:
    """Return the process's one client, which is safe for threads."""
    return openai.OpenAI()


def answer(content: str, *, raw: bool) -> Iterator[Piece]:
    """Yield the model's answer as it comes."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": content},
    ]
    return _raw(messages) if raw else _objects(messages)


def _objects(messages: list[ChatCompletionMessageParam]) -> Iterator[Piece]:
    stream = client().chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield Piece(chunk.choices[0].delta.content)
        if chunk.usage:
            usage = chunk.usage
            yield Piece(usage={"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens})


def _raw(messages: list[ChatCompletionMessageParam]) -> Iterator[Piece]:
    with client().chat.completions.with_streaming_response.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    ) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                yield from _chunk(json.loads(line[6:]))


def _chunk(chunk: dict[str, Any]) -> Iterator[Piece]:
    choices = chunk["choices"]
    if choices and (text := choices[0]["delta"].get("content")):
        yield Piece(text)
    if usage := chunk.get("usage"):
        yield Piece(usage={name: usage[name] for name in ("prompt_tokens", "completion_tokens")})
