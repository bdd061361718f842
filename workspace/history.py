"""What of a session the model is shown: the last messages that fit."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from models.statuses import MessageRole

CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English. A tokenizer would have to be fetched from a hub, and only a bound is needed."""


class PastMessage(NamedTuple):
    """One earlier turn of text."""

    role: MessageRole
    content: str
    run_id: UUID | None = None
    """Of which run it is a part."""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` takes; never 0."""
    return len(text) // CHARACTERS_PER_TOKEN + 1


def fit(newest_first: Iterable[PastMessage], *, messages: int, tokens: int) -> list[PastMessage]:
    """Return the newest messages that fit both bounds, oldest first. The newest one always stays."""
    chosen: list[PastMessage] = []
    left = tokens
    for message in newest_first:
        left -= estimate_tokens(message.content)
        if chosen and (left < 0 or len(chosen) >= messages):
            break
        chosen.append(message)
    return chosen[::-1]


def prompt(system_prompt: str, conversation: Iterable[PastMessage]) -> list[dict[str, Any]]:
    """Return the messages of a model request."""
    turns = [{"role": message.role.value, "content": message.content} for message in conversation]
    return [{"role": MessageRole.SYSTEM.value, "content": system_prompt}, *turns]
