"""Which account commands run under, as the host sees it: never root."""

import os
from typing import NamedTuple

from workspace.files import Owner


class Identity(NamedTuple):
    """An unprivileged account of the host."""

    uid: int
    gid: int
    is_worker: bool
    """Whether it is the worker's own. Else the worker is root, and its commands drop to it."""

    @property
    def owner(self) -> Owner | None:
        """Whom the files of workspaces are given to, so that commands can use them."""
        return None if self.is_worker else Owner(self.uid, self.gid)


def identity_of_commands(*, uid: int, gid: int) -> Identity:
    """Return the account of commands.

    A worker that is root could start a sandbox whose user is root to the kernel: what it finds in `/proc` it could
    write. So root is dropped first, and a sandbox that cannot drop it does not start.

    Args:
        uid: the account's, where this process is root; any other process has its own account only.
        gid: its group.
    """
    if os.geteuid() == 0:
        return Identity(uid, gid, is_worker=False)
    return Identity(os.geteuid(), os.getegid(), is_worker=True)
