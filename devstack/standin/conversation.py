"""A chat request, reduced to what decides the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


class BadRequestError(ValueError):
    """The request is not one that the OpenAI protocol allows."""


@dataclass(frozen=True)
class Conversation:
    """One chat request."""

    body: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    model: str

    @classmethod
    def parse(cls, body: Any) -> "Conversation":
        """Check the body's shape.

        Raises:
            BadRequestError: it is no chat request.
        """
        if not isinstance(body, dict):
            raise BadRequestError("the body must be a JSON object")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
            raise BadRequestError("'messages' must be a non-empty list of objects")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequestError("'model' must be a name")
        return cls(body, messages, model)

    @cached_property
    def user(self) -> str:
        """The last user message."""
        return next((text_of(each) for each in reversed(self.messages) if each.get("role") == "user"), "")

    @cached_property
    def asked(self) -> str:
        """The user message before the first answer: what a plan is asked for, also when it is asked for again."""
        asked = ""
        for message in self.messages:
            if message.get("role") == "assistant":
                break
            asked = text_of(message) if message.get("role") == "user" else asked
        return asked

    @cached_property
    def attempt(self) -> int:
        """How often the model has answered before."""
        return sum(message.get("role") == "assistant" for message in self.messages)

    @cached_property
    def system(self) -> str:
        """All system and developer messages."""
        return "\n".join(text_of(each) for each in self.messages if each.get("role") in {"system", "developer"})

    @cached_property
    def turn(self) -> int:
        """How many turns with tool calls the model has had since the last user message."""
        turns = 0
        for message in reversed(self.messages):
            if message.get("role") == "user":
                break
            turns += message.get("role") == "assistant" and bool(message.get("tool_calls"))
        return turns

    @cached_property
    def tool_results(self) -> list[str]:
        """The results that the conversation ends with; empty if its last message is no tool's."""
        results: list[str] = []
        for message in reversed(self.messages):
            if message.get("role") != "tool":
                break
            results.insert(0, text_of(message))
        return results

    @property
    def forbids_tools(self) -> str:
        """Why no tool may be called; empty if one may."""
        if not self.body.get("tools"):
            return "no tools were offered"
        return "'tool_choice' is 'none'" if self.body.get("tool_choice") == "none" else ""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema that the answer must follow, if any."""
        wanted = self.body.get("response_format") or {}
        if wanted.get("type") == "json_object":
            return {"type": "object"}
        if wanted.get("type") != "json_schema":
            return None
        schema = (wanted.get("json_schema") or {}).get("schema")
        if not isinstance(schema, dict):
            raise BadRequestError("'response_format.json_schema.schema' must be an object")
        return schema

    @property
    def wants_plan(self) -> bool:
        """Whether the answer must follow a schema that is called `plan`."""
        wanted = self.body.get("response_format") or {}
        return wanted.get("type") == "json_schema" and (wanted.get("json_schema") or {}).get("name") == "plan"

    @property
    def streams(self) -> bool:
        """Whether the answer is sent piece by piece."""
        return bool(self.body.get("stream"))

    @property
    def streams_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def token_limit(self) -> int | None:
        """The most tokens that the answer may have."""
        limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return limit if isinstance(limit, int) else None

    def count_tokens(self) -> int:
        """Words of the prompt, as the measure of its tokens."""
        return sum(len(text_of(each).split()) for each in self.messages)


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text, which may come in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
