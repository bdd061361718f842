"""Arguments as they go out in events: long texts are cut there, and whole in the rows."""

from typing import Any, NamedTuple

from models import Json

LONGEST_TEXT = 2_000
"""Characters of one text: enough for a person to see what it is about."""
MOST_TEXT = 16_000
"""Characters of all texts: a session's buffer keeps a thousand events."""
LEAST = 8
"""Characters that each value counts as besides its text: a list may hold thousands that have none."""


class Excerpt(NamedTuple):
    """Arguments as an event has them."""

    arguments: Json
    complete: bool


def excerpt(arguments: Json) -> Excerpt:
    """Return arguments with long texts cut."""
    cutter = _Cutter()
    return Excerpt(cutter.cut(arguments), cutter.complete)


class _Cutter:
    def __init__(self) -> None:
        self.complete = True
        self._left = MOST_TEXT

    def cut(self, value: Any) -> Any:
        """Return a value with its long texts cut; names count like texts."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._text(name): self.cut(each) for name, each in self._some(list(value.items()))}
        if isinstance(value, list):
            return [self.cut(each) for each in self._some(value)]
        return value

    def _text(self, text: str) -> str:
        most = max(min(LONGEST_TEXT, self._left), 0)
        self._left -= len(text[:most]) + 2
        if len(text) <= most:
            return text
        self.complete = False
        return text[:most] + "…"

    def _some(self, values: list[Any]) -> list[Any]:
        some = values[: max(self._left // LEAST, 0)]
        self._left -= LEAST * len(some)  # at once: what they hold has to leave room for those behind it
        if len(some) < len(values):
            self.complete = False
        return some
