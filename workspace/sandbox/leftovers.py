"""Sandboxes that outlived their worker, and how the next one ends them.

bubblewrap ends with the worker, and the sandbox with bubblewrap, but for a few milliseconds: while the sandbox is being
made it does not ask the kernel for that yet. A worker that is killed just then leaves a command that nobody waits for,
under no time limit.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from workspace.sandbox.identity import Identity
from workspace.sandbox.profile import HOSTNAME, UID

_MARK: Final = f"\0--hostname\0{HOSTNAME}\0".encode()
"""In the command line of every sandbox's first process; other programs use bubblewrap, too.

A command can write over it: the first process is of its own account, and `/proc/1/mem` is a way past the refusal of
`ptrace`. So where the account is the commands' alone, that is enough.
"""

_GONE: Final = (FileNotFoundError, ProcessLookupError, PermissionError)


def end_leftovers(identity: Identity) -> int:
    """End every sandbox of this host that no bubblewrap waits for any more; returns how many there were.

    Args:
        identity: the account of commands.
    """
    ended = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(*_GONE):
                ended += _end(entry, identity)
    return ended


def _end(process: Path, identity: Identity) -> bool:
    descriptor = os.pidfd_open(int(process.name))  # from here on it is this process that is looked at, or none
    try:
        is_left = _is_left(process, identity)
        if is_left:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return is_left


def _is_left(process: Path, identity: Identity) -> bool:
    """Whether a process is the first one of a sandbox, and its parent is not the bubblewrap that made it."""
    if not (_is_marked(process) or _has_account(process, identity)):
        return False
    facts = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    is_first = facts["NSpid"].split()[1:] == ["1"]
    has_ended = facts["State"].startswith("Z")  # the host has only not taken note of it yet
    return is_first and not has_ended and not _is_bubblewrap(Path("/proc") / facts["PPid"])


def _is_marked(process: Path) -> bool:
    """Whether a sandbox's command line is as it was; that is so from its first moment on."""
    return _MARK in (process / "cmdline").read_bytes()


def _has_account(process: Path, identity: Identity) -> bool:
    """Whether a process is of the account that only commands have: its namespace has it as soon as it is made."""
    return not identity.is_worker and (process / "uid_map").read_text().split() == [str(UID), str(identity.uid), "1"]


def _is_bubblewrap(process: Path) -> bool:
    try:
        return (process / "comm").read_text() == "bwrap\n"
    except _GONE:
        return False  # it ended just now
