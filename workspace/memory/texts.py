"""The texts of memories: what is stored of one, and how many of them fit into a prompt."""

from collections.abc import Iterable

from workspace.errors import InvalidInput
from workspace.history import estimate_tokens
from workspace.memory.memories import Found
from workspace.model_stream import storable

MOST_CHARACTERS = 16_000
"""Of a text that is stored; a longer one is cut."""


def stored(text: str) -> str:
    """Return a text as it is stored: what no database can hold replaced, and not without end.

    Raises:
        InvalidInput: nothing is left of it.
    """
    text = storable(text[:MOST_CHARACTERS])
    if not text.strip():
        raise InvalidInput("There is no text to remember or to look for.")
    return text


def fitting(found: Iterable[Found], tokens: int) -> list[Found]:
    """Return those that fit together, in their order. One that is too long is passed over, not cut."""
    chosen = []
    for each in found:
        needed = estimate_tokens(each.memory.text)
        if needed <= tokens:
            chosen.append(each)
            tokens -= needed
    return chosen
