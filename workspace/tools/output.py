"""How much a tool may answer, counted as the JSON that the model is shown and the ledger keeps."""

import json
from typing import Any

_LONGEST_ESCAPE = len("\\u0000")


def json_size(value: Any) -> int:
    """Return the bytes that a value takes as JSON in UTF-8."""
    return len(_dumps(value).encode())


def fitting(text: str, room: int) -> str:
    """Return as much of the beginning of `text` as takes `room` bytes at most within a JSON string.

    A character takes one byte or up to six: quotes and controls are written as escapes.
    """
    if len(text) * _LONGEST_ESCAPE <= room:
        return text
    escaped = _dumps(text)[1:-1].encode()
    if len(escaped) <= room:
        return text
    kept = escaped[: max(room, 0)].decode("utf-8", "ignore")
    while True:  # the cut may have gone through an escape, whose rest is shorter than one
        try:
            whole: str = json.loads(f'"{kept}"')
        except json.JSONDecodeError:
            kept = kept[:-1]
        else:
            return whole


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
