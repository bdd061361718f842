"""To whom the directories and files of workspaces belong."""

import os
from typing import NamedTuple


class Owner(NamedTuple):
    """The unprivileged account that commands run under when the server itself is root."""

    uid: int
    gid: int

    def take(self, fd: int) -> None:
        """Make an open file or directory this account's."""
        os.fchown(fd, self.uid, self.gid)
