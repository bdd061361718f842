"""Tool calls as directives and rules tell them, good ones and such as no program should believe."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from devstack.standin.script import GENERATED, ToolCall

MOST = 10_000
"""Calls of one turn that one directive can make."""

HINT = 'it must be a name, a space and JSON arguments, or an object such as {"name": "a", "arguments": {}}'


def read_calls(text: str) -> tuple[ToolCall, ...]:
    """The calls that one `tool` means.

    Raises:
        ValueError: it cannot be understood.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            return _described(json.loads(text))
        except RecursionError:
            raise ValueError("what is nested so deeply must be a text: 'raw'") from None
    name, _, arguments = text.partition(" ")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError(HINT)
    arguments = arguments.strip() or "{}"
    # Nested more deeply than this reader goes: then that is what a test wants to send.
    with suppress(RecursionError):
        json.loads(arguments)
    return (ToolCall(name, arguments),)


def _described(call: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    for key, value in call.items():
        if key not in _KEYS or not _KEYS[key](value):
            raise ValueError(f"{key!r} with {value!r} is no part of a call; {HINT}")
    if "name" not in call or {"arguments", "raw"} <= set(call):
        raise ValueError(HINT)
    arguments = call["raw"] if "raw" in call else json.dumps(call.get("arguments", {}))
    times: int = call.get("times", 1)
    return (ToolCall(call["name"], arguments, call.get("id", GENERATED), call.get("index")),) * times


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_index(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST


_KEYS: dict[str, Callable[[Any], bool]] = {
    "name": _is_text,
    "arguments": lambda _: True,
    "raw": _is_text,
    "id": _is_id,
    "index": _is_index,
    "times": _is_count,
}
"""What an object may have, and what may stand there."""
