"""Types of files that are not written: machine code, and what a loader takes for it.

A policy and no wall: a command may make such a file, and what runs is held by the sandbox.
"""

import unicodedata

from workspace.tools.errors import ToolError, ToolErrorCode

_PROGRAMS = ("exe", "com", "scr", "msi", "bin", "elf", "efi", "apk")
_LIBRARIES = ("dll", "so", "dylib", "a", "lib", "o", "obj", "ko", "sys", "drv", "ocx", "cpl")
_FOR_VIRTUAL_MACHINES = ("pyc", "pyo", "pyd", "class", "jar", "war", "ear", "dex", "wasm", "node")

FORBIDDEN = frozenset((*_PROGRAMS, *_LIBRARIES, *_FOR_VIRTUAL_MACHINES))
"""Endings without their dot. Scripts are text, which people read before they run it."""


def check_type(name: str) -> None:
    """Refuse to write a file of this name if its ending stands for machine code.

    Compared is what other systems make of the name: full-width letters, capitals, blanks and dots at the end, and
    the streams of NTFS (`a.exe:b`) change nothing. `libx.so.1` is a library too.

    Raises:
        ToolError: `FORBIDDEN_FILE_TYPE`.
    """
    for stream in _folded(name).split(":"):
        if (ending := _ending(stream)) in FORBIDDEN:
            raise ToolError(ToolErrorCode.FORBIDDEN_FILE_TYPE, f"Files of the type .{ending} are not written.")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _ending(name: str) -> str | None:
    parts = [part.strip() for part in name.split(".")]
    while len(parts) > 1 and (not parts[-1] or parts[-1].isdigit()):  # blanks, dots and the versions of libraries
        parts.pop()
    return parts[-1] if len(parts) > 1 else None
