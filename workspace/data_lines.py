"""What others wrote, shown to a model as data: a line of JSON in which nothing can end the line or its block."""

import json
from collections.abc import Mapping
from typing import Any

_ESCAPES = str.maketrans(
    {each: f"\\u{ord(each):04x}" for each in ("<", ">", "\x7f", "\x85", "\u2028", "\u2029")},
)
"""What JSON leaves as it is, and a mark or the end of a line may be made of."""


def data_line(told: Mapping[str, Any]) -> str:
    """Return an object on one line, without a character that a mark such as `</memories>` is made of."""
    return json.dumps(told, ensure_ascii=False).translate(_ESCAPES)
