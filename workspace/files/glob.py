"""Patterns such as `*.py` and `src/**/test_*.py`, whose cost cannot be made to explode.

A pattern is a row of places, and all places that a text may have reached are the bits of one number. Each character
moves all of them at once, so a text costs its length whatever the pattern is. The places after a directory's path are
kept, so that a name costs no more in a deep directory, and where none is left nothing below can match.
"""

from collections.abc import Callable

from workspace.tools.errors import ToolError, ToolErrorCode

MOST_CHARACTERS = 256
MOST_SETS = 16
"""Each is looked at for every character."""

_Takes = Callable[[str], bool]


class Glob:
    """`*` and `?` stand for characters of one name, `[a-z]` and `[!a-z]` for one character, `**` for directories.

    A pattern without a slash is compared with the name alone.
    """

    def __init__(self, pattern: str) -> None:
        """Read a pattern.

        Raises:
            ToolError: `INVALID_ARGUMENTS`.
        """
        if not pattern or len(pattern) > MOST_CHARACTERS:
            raise _invalid(f"It has to have 1 to {MOST_CHARACTERS} characters.")
        if set(pattern) & set("\\{}"):
            raise _invalid("It cannot have a backslash or braces; use one call for each pattern.")
        self._end = 1  # the place that the next character of the pattern leads from, and the last one in the end
        self._literals: dict[str, int] = {}
        self._sets: list[tuple[int, _Takes]] = []
        self._takes_any = 0
        self._takes_any_in_name = 0
        self._stays = 0
        self._stays_in_name = 0
        self._skips = 0
        self._read(pattern)

    def begin(self) -> int:
        """Return the places before the first character."""
        return self._skipped(1)

    def feed(self, places: int, text: str) -> int:
        """Return the places after `text`; 0 if nothing that begins like this can match."""
        for character in text:
            stays = self._stays if character == "/" else self._stays | self._stays_in_name
            places = self._skipped((places & stays) | ((places & self._moving(character)) << 1))
            if not places:
                break
        return places

    def accepts(self, places: int) -> bool:
        """Return whether all of the pattern is used up."""
        return bool(places & self._end)

    def _moving(self, character: str) -> int:
        """Return the places that this character leads on from."""
        moving = self._literals.get(character, 0) | self._takes_any
        if character != "/":
            moving |= self._takes_any_in_name
            for place, takes in self._sets:
                if takes(character):
                    moving |= place
        return moving

    def _skipped(self, places: int) -> int:
        return places | (places & self._skips) << 2

    def _read(self, pattern: str) -> None:
        parts = [part for part in pattern.split("/") if part not in {"", "."}]
        if not parts or ".." in parts:
            raise _invalid("It has no name, or a `..`.")
        if "/" not in pattern:
            parts.insert(0, "**")
        if parts[-1] == "**":
            parts.append("*")
        before = ""
        for part in parts[:-1]:
            if part != "**":
                self._read_name(part)
                self._add_literal("/")
            elif before != "**":  # a row of them means no more than one
                self._add_directories()
            before = part
        self._read_name(parts[-1])

    def _read_name(self, name: str) -> None:
        at = 0
        while at < len(name):
            end = name.find("]", at + 2 + (name[at + 1 : at + 2] == "!")) if name[at] == "[" else -1
            if name[at] == "*":
                self._stays_in_name |= self._end
            elif name[at] == "?":
                self._takes_any_in_name |= self._end
                self._end <<= 1
            elif end > 0:
                self._add_set(name[at + 1 : end])
                at = end
            else:
                self._add_literal(name[at])
            at += 1

    def _add_literal(self, character: str) -> None:
        self._literals[character] = self._literals.get(character, 0) | self._end
        self._end <<= 1

    def _add_set(self, inside: str) -> None:
        if len(self._sets) == MOST_SETS:
            raise _invalid(f"It cannot have more than {MOST_SETS} sets in brackets.")
        self._sets.append((self._end, _one_of(inside)))
        self._end <<= 1

    def _add_directories(self) -> None:
        """Add `**/`: nothing at all, or a character, more of any kind, and a slash."""
        self._skips |= self._end
        self._takes_any |= self._end
        self._end <<= 1
        self._stays |= self._end
        self._add_literal("/")


def _one_of(inside: str) -> _Takes:
    """Return what takes the characters of a set: single ones and ranges, all others after a `!`."""
    wanted = not inside.startswith("!")
    inside = inside.removeprefix("!")
    ranges = []
    at = 0
    while at < len(inside):
        last = at + 2 if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside) else at
        ranges.append((inside[at], inside[last]))
        at = last + 1
    return lambda character: any(low <= character <= high for low, high in ranges) == wanted


def _invalid(reason: str) -> ToolError:
    return ToolError(ToolErrorCode.INVALID_ARGUMENTS, f"The pattern is not allowed. {reason}")
