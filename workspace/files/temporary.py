"""Names of files that are being written: the reader of a workspace sees the old file or the new one, never a part.

A crash leaves such a file behind. Its name says what it is, so that lists leave it out and the next measurement of the
workspace removes it.
"""

import os
import secrets
import stat

PREFIX = ".codelab-tmp-"
STALE_AFTER = 3_600.0
"""Seconds: no write takes so long."""


def new_name() -> str:
    """Return a name that no file has."""
    return PREFIX + secrets.token_hex(8)


def is_temporary(name: str) -> bool:
    """Return whether a file of this name is one that is being written, or was when the server crashed."""
    return name.startswith(PREFIX)


def is_left_behind(name: str, status: os.stat_result, *, now: float) -> bool:
    """Return whether a crash left this file behind."""
    return is_temporary(name) and stat.S_ISREG(status.st_mode) and now - status.st_mtime > STALE_AFTER
