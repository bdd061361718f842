"""Matching text by a pattern with `*`, `**` and `?`, in a time that no pattern can blow up.

It is neither `fnmatch`, whose `*` crosses `/`, nor a translation into a regular expression, whose time depends on the
pattern. All positions in the pattern that the text so far may have led to are the bits of one number, and each
character of the text moves all of them at once.
"""

MAX_TEXT = 16_384
"""Longer text has to be named exactly: matching takes time in proportion to it."""


def has_wildcard(pattern: str) -> bool:
    """Whether a pattern can match anything but itself."""
    return "*" in pattern or "?" in pattern


def matches(pattern: str, text: str, *, crossing: bool = False) -> bool:
    """Return whether a pattern matches the whole of a text.

    `*` is any number of characters but `/`, `**` any number of any characters, `?` is one character but `/`; anything
    else, also a backslash or a bracket, is itself, in this case.

    Args:
        crossing: `*` and `?` match `/` as well.
    """
    if not has_wildcard(pattern):
        return pattern == text
    if len(text) > MAX_TEXT:
        return False
    return _Positions(pattern, crossing=crossing).after(text)


class _Positions:
    """A pattern as bits: bit `i` stands before its part `i`, the highest one behind all of them."""

    def __init__(self, pattern: str, *, crossing: bool) -> None:
        self._moved_by: dict[str, int] = {}
        """Before which parts each character that is itself leads on to the next part."""
        self._any = 0
        """The parts that any character leads beyond, or all but `/`."""
        self._stars = 0
        self._crossing_stars = 0
        self._crossing = crossing
        self._end = 1
        for part in _parts(pattern):
            if part == "?":
                self._any |= self._end
            elif part[0] == "*":
                self._stars |= self._end
                self._crossing_stars |= self._end if crossing or part == "**" else 0
            else:
                self._moved_by[part] = self._moved_by.get(part, 0) | self._end
            self._end <<= 1

    def after(self, text: str) -> bool:
        """Whether the text leads from the first position to the last."""
        at = self._beyond_stars(1)
        for character in text:
            crosses = self._crossing or character != "/"
            moving = at & (self._moved_by.get(character, 0) | (self._any if crosses else 0))
            staying = at & (self._stars if crosses else self._crossing_stars)
            at = self._beyond_stars(moving << 1 | staying)
            if not at:
                return False
        return bool(at & self._end)

    def _beyond_stars(self, at: int) -> int:
        """Add the positions behind stars: a star may match nothing. No two of them stand side by side."""
        return at | (at & self._stars) << 1


def _parts(pattern: str) -> list[str]:
    """Return the pattern's characters, with each row of stars as one part: `*` or `**`."""
    parts: list[str] = []
    for character in pattern:
        if character == "*" and parts and parts[-1][0] == "*":
            parts[-1] = "**"
        else:
            parts.append(character)
    return parts
