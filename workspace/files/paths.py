"""The rules of form for a path, checked before anything is opened.

They are the first of two walls: the walk by directory descriptors (`walk.py`) would stop every one of these paths as
well. They also keep a person who approves a path from being shown one thing and asked another.
"""

import unicodedata

from workspace.files.temporary import is_temporary
from workspace.tools.errors import ToolError, ToolErrorCode

MOST_CHARACTERS = 1024
MOST_LEVELS = 32
MOST_NAME_BYTES = 255
"""What Linux' file systems take for one name."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (bidi overrides and zero width among them), surrogates, line separators."""

_MEANINGFUL = frozenset("./\\")
_SLASHES = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u29f9\u2571\u2572")
"""Characters that look like a slash or backslash and that NFKC leaves as they are."""


def parse(path: str) -> tuple[str, ...]:
    """Return the names that lead from the workspace to a file or directory; none for the workspace itself.

    `.` and doubled slashes are left out, so a path has one form only.

    Raises:
        ToolError: `INVALID_PATH`.
    """
    if not path:
        raise _invalid("It is empty.")
    if len(path) > MOST_CHARACTERS:
        raise _invalid(f"It has more than {MOST_CHARACTERS} characters.")
    _check_characters(path)
    if path.startswith("/"):
        raise _invalid("It has to be relative to the workspace.")
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if len(parts) > MOST_LEVELS:
        raise _invalid(f"It has more than {MOST_LEVELS} levels.")
    for part in parts:
        _check_name(part)
    return parts


def parse_file(path: str) -> tuple[str, ...]:
    """Return the names that lead to a file: one at least.

    Raises:
        ToolError: `INVALID_PATH`.
    """
    parts = parse(path)
    if not parts or path.endswith(("/", "/.")):
        raise _invalid("It names a directory.")
    return parts


def readable(name: str) -> str:
    """Return a name on the disk as it may be shown: characters that a path may not have are escapes.

    Commands can give any name. As no path may have a backslash, such a name is not taken for one that can be opened.
    """
    if _is_plain(name):
        return name
    return "".join(_escaped(character) if _objection(character) else character for character in name)


def _is_plain(text: str) -> bool:
    """Return whether nothing can be wrong with any character: by far the most paths, at a fraction of the cost."""
    return text.isascii() and text.isprintable() and "\\" not in text


def _check_characters(path: str) -> None:
    if _is_plain(path):
        return
    for character in path:
        objection = _objection(character)
        if objection:
            raise _invalid(objection)


def _objection(character: str) -> str | None:
    if character == "\\":
        return "Directories are divided by `/`; it cannot have a backslash."
    if unicodedata.category(character) in _INVISIBLE:
        return "It has a character that cannot be seen."
    if not character.isascii() and (
        character in _SLASHES or _MEANINGFUL.intersection(unicodedata.normalize("NFKC", character))
    ):
        return "It has a character that only looks like `.`, `/` or a backslash."
    return None


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no text, as Python has it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _check_name(name: str) -> None:
    if name == "..":
        raise _invalid("It has a `..`; nothing outside of the workspace can be reached.")
    if len(name.encode()) > MOST_NAME_BYTES:
        raise _invalid(f"A name in it has more than {MOST_NAME_BYTES} bytes.")
    if is_temporary(name):
        raise _invalid("A name in it is kept for the server's own use.")


def _invalid(reason: str) -> ToolError:
    return ToolError(ToolErrorCode.INVALID_PATH, f"The path is not allowed. {reason}")
