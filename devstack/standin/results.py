"""Tool results, as far as an answer looks into them."""

import json
import re
from collections.abc import Sequence
from typing import Any

PLACE = re.compile(r"\{result((?:\.\w+)*)\}")
"""Stands for the tool results in a text: `{result}` for all of them, `{result.error.detail}` for a part of the last."""


def is_error(result: str) -> bool:
    """Whether a tool answered with an error: with a JSON object that has a key of this name."""
    found = _read(result)
    return isinstance(found, dict) and found.get("error") is not None


def quoted(text: str, results: Sequence[str]) -> str:
    """The text with the results where it names them; a part that is not there is empty."""

    def part(place: re.Match[str]) -> str:
        if not place[1]:
            return "; ".join(results)
        found = _read(results[-1]) if results else None
        for name in place[1].removeprefix(".").split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return "" if found is None else found if isinstance(found, str) else json.dumps(found)

    return PLACE.sub(part, text)


def _read(result: str) -> Any:
    try:
        return json.loads(result)
    except (ValueError, RecursionError):
        return None
