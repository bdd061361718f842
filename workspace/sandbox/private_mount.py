"""A mount that only one thread, and what that thread starts, can see.

Commands of a worker that is root run under an account that often cannot walk to a workspace: its base directory is
closed to everybody else, and may lie below `/root`. Opening those directories would weaken the wall between tenants, so
root carries the one directory over: it copies the mount of the directory that is open (no path is looked up, so
nothing can be exchanged underway), leaves for a mount namespace of its own, and attaches the copy there, at a place
that everybody can reach. No descriptor of the directory is handed on, so none can leak into the sandbox.

A mount namespace belongs to a thread, and a thread cannot go back: this is for a thread that ends afterwards.
"""

import ctypes
import os
from typing import Final

from workspace.sandbox.errors import SandboxError

PLACE: Final = "/mnt"
"""A directory that the Filesystem Hierarchy Standard asks for; what is mounted there for others stays as it is."""

_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_FROM_DESCRIPTOR: Final = 4
_AT_EMPTY_PATH: Final = 0x1000
_AT_FDCWD: Final = -100
_CLONE_NEWNS: Final = 0x00020000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def copy_mount(directory: int) -> int:
    """Return a descriptor of a mount of an open directory, which is attached nowhere; the caller closes it.

    Raises:
        SandboxError: this process may not mount.
    """
    flags = _OPEN_TREE_CLONE | _AT_EMPTY_PATH | os.O_CLOEXEC
    return _checked("open_tree", _libc.syscall(ctypes.c_long(_OPEN_TREE), directory, b"", flags))


def enter(mount: int) -> None:
    """Leave for a mount namespace in which `mount` is at `PLACE`. For the calling thread, and for good.

    Raises:
        SandboxError: this process may not mount, or there is no such place.
    """
    _checked("unshare", _libc.unshare(_CLONE_NEWNS))
    # Else the mount would also appear where this namespace was copied from.
    _checked("mount", _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    moved = _libc.syscall(
        ctypes.c_long(_MOVE_MOUNT), mount, b"", _AT_FDCWD, PLACE.encode(), _MOVE_MOUNT_FROM_DESCRIPTOR
    )
    _checked("move_mount", moved)


def _checked(call: str, result: int) -> int:
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxError(f"the worker is root but cannot mount ({call}: {reason}); run it under another account")
    return result
