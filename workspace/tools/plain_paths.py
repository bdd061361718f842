"""Which texts name a path of the workspace, and how it is spelled shortest. Pure text: no disk is asked.

The file tools have walls of their own. This is for those who decide about a path before it is opened: what they cannot
read for certain, they must not judge.
"""

import re
import unicodedata

MAX_LENGTH = 1_024
MAX_LEVELS = 32

_HIDING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that show something else than what is there: control, format (bidi, zero width), surrogate,
line and paragraph separators."""

_OF_OTHER_SYSTEMS = re.compile(r":|~\d")
"""`C:`, the streams of NTFS (`a:$DATA`) and short names (`GIT~1`): a client's disk reads them as another name."""


def plain_path(text: str) -> str | None:
    """Return a path of the workspace in its shortest spelling (`./a//b/` is `a/b`, the workspace itself is empty).

    Returns `None` for what may name anything else than it seems to: absolute, with `..`, a backslash, hidden
    characters, or a lookalike of these.
    """
    if len(text) > MAX_LENGTH or text.startswith("/"):
        return None
    names = [name for name in text.split("/") if name not in {"", "."}]
    if len(names) > MAX_LEVELS or not all(_is_plain(name) for name in names):
        return None
    return "/".join(names)


def folded(name: str) -> str:
    """Return a file's name as the most lenient disk compares it: no case, lookalikes, spaces or dots at its end."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).rstrip(". ")


def _is_plain(name: str) -> bool:
    if any(unicodedata.category(character) in _HIDING for character in name):
        return False
    compatible = unicodedata.normalize("NFKC", name)
    return bool(folded(name)) and not set("/\\") & set(compatible) and not _OF_OTHER_SYSTEMS.search(compatible)
