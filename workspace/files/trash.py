"""Removing a workspace: it is out of its place at once, and what is in it goes after that.

It goes by way of `base/.trash`. What the end of the process leaves there, a sweep removes.
"""

import os
import uuid
from contextlib import suppress

import structlog

from workspace.files.own_directories import OwnDirectories
from workspace.files.places import name_of
from workspace.files.removal import move_directory, remove_tree
from workspace.files.walk import READABLE
from workspace.names import WorkspaceKey

log = structlog.get_logger(__name__)

NAME = ".trash"


class Trash:
    """Where workspaces go that are removed."""

    def __init__(self, own: OwnDirectories) -> None:
        self._own = own

    def remove(self, key: WorkspaceKey) -> None:
        """Remove a workspace's directory, if it has one.

        Raises:
            OSError: it could not be taken from its place.
        """
        try:
            base = self._own.open_base(make=False)
        except FileNotFoundError:
            return
        try:
            trash = self._own.enter(base, NAME, make=True)
            try:
                taken = _take(base, key, trash)
                if taken is not None:
                    _remove(trash, taken)
            finally:
                os.close(trash)
        finally:
            os.close(base)

    def empty(self) -> None:
        """Remove all that is in the trash."""
        try:
            base = self._own.open_base(make=False)
        except FileNotFoundError:
            return
        try:
            trash = self._own.enter(base, NAME, make=True)
            try:
                for name in os.listdir(trash):  # noqa: PTH208  # by descriptor
                    _remove(trash, name)
            finally:
                os.close(trash)
        finally:
            os.close(base)


def _take(base: int, key: WorkspaceKey, trash: int) -> str | None:
    """Move a workspace into the trash and return its name there; `None` if there is no such workspace."""
    user_name, project_name, taken = name_of(key.user_id), name_of(key.project_id), str(uuid.uuid4())
    try:
        user = os.open(user_name, READABLE, dir_fd=base)
        try:
            move_directory(project_name, taken, source=user, target=trash)
        finally:
            os.close(user)
            with suppress(OSError):  # the user has other projects, or the directory is gone
                os.rmdir(user_name, dir_fd=base)
    except FileNotFoundError:
        return None
    return taken


def _remove(trash: int, name: str) -> None:
    try:
        remove_tree(trash, name)
    except OSError:  # the workspace is out of its place, which is what counts; the next sweep tries again
        log.exception("trash_not_emptied", name=name)
