"""The directories of all workspaces: `base/<user>/<project>`, found by id alone.

`base` and the directories of users are the server's own. Where the server is root they can be passed through by the
owner of the workspaces, for whom commands run, but not listed or changed; nobody else can do either.
"""

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import structlog

from workspace.files.owner import Owner
from workspace.files.removal import remove_contents, unlock
from workspace.files.walk import READABLE
from workspace.names import WorkspaceKey

log = structlog.get_logger(__name__)

TRASH = ".trash"
TRIES = 10
"""A user's directory may be removed because it is empty while another project's is made in it."""


class Places:
    """Where workspaces are, made at first use."""

    def __init__(self, base: Path, owner: Owner | None) -> None:
        self._base = base
        self._owner = owner

    def path(self, key: WorkspaceKey) -> Path:
        """Return where the workspace's directory is."""
        return self._base / _name(key.user_id) / _name(key.project_id)

    def open(self, key: WorkspaceKey, *, make: bool) -> int:
        """Return a descriptor of the workspace's directory; the caller closes it.

        Raises:
            FileNotFoundError: there is none, and `make` is false.
        """
        for _ in range(TRIES):
            try:
                return self._open(key, make=make)
            except FileNotFoundError:
                if not make:
                    raise
        return self._open(key, make=make)

    def keys(self) -> Iterator[WorkspaceKey]:
        """Yield every workspace that has a directory."""
        try:
            base = self._open_base(make=False)
        except FileNotFoundError:
            return
        try:
            for user_id in _ids(base):
                for project_id in self._projects(base, user_id):
                    yield WorkspaceKey(user_id, project_id)
        finally:
            os.close(base)

    def remove(self, key: WorkspaceKey) -> None:
        """Remove a workspace's directory: at once from its place, and then all that is in it.

        Raises:
            OSError: it could not be taken from its place. What is left after that, `empty_trash` removes.
        """
        try:
            base = self._open_base(make=False)
        except FileNotFoundError:
            return
        try:
            bag = self._put_into_bag(base, key)
            if bag is not None:
                self._empty(base, bag)
        finally:
            os.close(base)

    def empty_trash(self) -> None:
        """Remove what removals left that did not come to their end."""
        try:
            base = self._open_base(make=False)
        except FileNotFoundError:
            return
        try:
            trash = self._enter(base, TRASH, make=True)
            try:
                bags = os.listdir(trash)  # noqa: PTH208  # by descriptor
            finally:
                os.close(trash)
            for bag in bags:
                self._empty(base, bag)
        finally:
            os.close(base)

    def _open(self, key: WorkspaceKey, *, make: bool) -> int:
        base = self._open_base(make=make)
        try:
            user = self._enter(base, _name(key.user_id), make=make)
        finally:
            os.close(base)
        try:
            return self._open_workspace(user, _name(key.project_id), make=make)
        finally:
            os.close(user)

    def _open_workspace(self, user: int, name: str, *, make: bool) -> int:
        try:
            fd = _open_or_make(user, name, make=make)
        except PermissionError:  # a command took its permissions; its name is in the server's own directory
            unlock(user, name)
            fd = os.open(name, READABLE, dir_fd=user)
        try:
            status = os.fstat(fd)
            if self._owner is not None and (status.st_uid, status.st_gid) != self._owner:
                self._owner.take(fd)
            if stat.S_IMODE(status.st_mode) != 0o700:
                os.fchmod(fd, 0o700)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open_base(self, *, make: bool) -> int:
        try:
            fd = os.open(self._base, READABLE)
        except FileNotFoundError:
            if not make:
                raise
            self._base.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._base, READABLE)
        return self._closed_to_others(fd)

    def _enter(self, parent: int, name: str, *, make: bool) -> int:
        """Open one of the server's own directories."""
        return self._closed_to_others(_open_or_make(parent, name, make=make))

    def _closed_to_others(self, fd: int) -> int:
        """See to the permissions of one of the server's own directories, whoever made it."""
        try:
            status = os.fstat(fd)
            if self._owner is not None and status.st_gid != self._owner.gid:
                os.fchown(fd, -1, self._owner.gid)
            mode = 0o700 if self._owner is None else 0o710
            if stat.S_IMODE(status.st_mode) != mode:
                os.fchmod(fd, mode)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _projects(self, base: int, user_id: UUID) -> list[UUID]:
        try:
            user = os.open(_name(user_id), READABLE, dir_fd=base)
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            return list(_ids(user))
        finally:
            os.close(user)

    def _put_into_bag(self, base: int, key: WorkspaceKey) -> str | None:
        """Move a workspace into a new directory in the trash and return that one's name; `None` if there is none."""
        user_name, project_name = _name(key.user_id), _name(key.project_id)
        try:
            user = os.open(user_name, READABLE, dir_fd=base)
        except FileNotFoundError:
            return None
        try:
            trash = self._enter(base, TRASH, make=True)
            try:
                return _move_into_bag(user, project_name, trash)
            finally:
                os.close(trash)
        finally:
            os.close(user)
            _remove_if_empty(base, user_name)

    def _empty(self, base: int, bag_name: str) -> None:
        trash = self._enter(base, TRASH, make=True)
        try:
            bag = os.open(bag_name, READABLE, dir_fd=trash)
            try:
                remove_contents(bag)
            finally:
                os.close(bag)
            os.rmdir(bag_name, dir_fd=trash)
        except FileNotFoundError:
            return  # another one did it
        except OSError:  # the workspace is out of its place, which is what counts; the next sweep tries again
            log.exception("trash_not_emptied", bag=bag_name)
        finally:
            os.close(trash)


def _name(id_: UUID) -> str:
    """Return the name of a directory; only an id can be one."""
    if not isinstance(id_, UUID):
        raise TypeError(f"{id_!r} is no UUID")
    return str(id_)


def _ids(directory: int) -> Iterator[UUID]:
    """Yield the ids that directories in here are named by."""
    for name in os.listdir(directory):  # by descriptor
        try:
            id_ = UUID(name)
        except ValueError:
            continue
        if str(id_) == name:
            yield id_


def _open_or_make(parent: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, READABLE, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another thread was first
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, READABLE, dir_fd=parent)


def _move_into_bag(user: int, project_name: str, trash: int) -> str | None:
    bag_name = str(uuid.uuid4())
    os.mkdir(bag_name, 0o700, dir_fd=trash)
    bag = os.open(bag_name, READABLE, dir_fd=trash)
    try:
        try:
            os.rename(project_name, "0", src_dir_fd=user, dst_dir_fd=bag)
        except PermissionError:
            unlock(user, project_name)
            os.rename(project_name, "0", src_dir_fd=user, dst_dir_fd=bag)
    except FileNotFoundError:
        os.rmdir(bag_name, dir_fd=trash)
        return None
    finally:
        os.close(bag)
    return bag_name


def _remove_if_empty(parent: int, name: str) -> None:
    with suppress(OSError):  # there are other projects in it, or it is gone
        os.rmdir(name, dir_fd=parent)
