"""The file `env` of a stack: what scripts need to reach it, as lines that a shell can source."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from devstack.directory import write_private

PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
SPACED = re.compile(r"[0-9 ]*")


def render(facts: Mapping[str, str]) -> str:
    """`KEY=value` lines, quoted where a shell needs it."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in facts.items())


def write(path: Path, facts: Mapping[str, str]) -> None:
    """Write the file all at once, for its owner only."""
    write_private(path, render(facts))


def _quoted(value: str) -> str:
    if value and PLAIN.fullmatch(value):
        return value
    # Lists of process ids; readers that are no shell strip double quotes more often than single ones.
    return f'"{value}"' if SPACED.fullmatch(value) else shlex.quote(value)
