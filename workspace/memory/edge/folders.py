"""Where collections are on the disk: `base/<user>/<project>/<agent>`, each made whole or not at all."""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

from workspace.memory.edge.measuring import size_of
from workspace.memory.edge.shard import Shard, ShardBroken, ShardInUse
from workspace.memory.memories import VectorSpace
from workspace.memory.ownership import NOBODY
from workspace.names import AGENT_NAME, Collection, WorkspaceKey

FORMAT = 1
"""Of `about.json`; a later version of this code may write another one."""
_ABOUT, _LOCK, _SHARD = "about.json", "lock", "shard"
_NEW, _TRASH = ".new", ".trash"
_LEFT_BEHIND = 3_600.0
"""Seconds after which nobody is still at work on what is being made or removed."""
_TRIES = 100
"""Times that a directory is made anew because somebody removes it at that very moment."""


class Folder:
    """The directory of a collection that this process has locked."""

    def __init__(self, path: Path, lock: int, collection: Collection) -> None:
        """Take a directory whose `lock` is held.

        Args:
            path: where it is.
            lock: a descriptor.
            collection: what it is, with the agent that it was made for.
        """
        self.path = path
        self.collection = collection
        self._lock = lock

    @property
    def shard(self) -> Path:
        """Where the engine's own files are."""
        return self.path / _SHARD

    def space(self) -> VectorSpace:
        """Return what the collection was made with.

        Raises:
            ShardBroken: nobody knows any more.
        """
        try:
            about = json.loads((self.path / _ABOUT).read_bytes())
            if about["format"] != FORMAT:
                raise ShardBroken(f"{self.path} has the format {about['format']}")
            return VectorSpace(str(about["model"]), int(about["dimensions"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ShardBroken(f"{self.path / _ABOUT} cannot be read") from error

    def remove_leftovers(self) -> None:
        """Remove what a build that was killed left behind; the engine never does."""
        shutil.rmtree(self.shard / "temp_segments", ignore_errors=True)

    def size(self) -> int:
        """Return the bytes that it takes on the disk, holes in its files not counted."""
        return size_of(self.path)

    def unlock(self) -> None:
        """Let another process have it."""
        os.close(self._lock)


class Folders:
    """The directories of all collections of a deployment."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def open(self, collection: Collection) -> Folder | None:
        """Lock a collection's directory; `None` if it has none.

        Raises:
            ShardInUse: another process has it locked.
        """
        path = self._path(collection)
        while True:
            try:
                lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same(lock, path / _LOCK):
                    return Folder(path, lock, collection._replace(agent_id=_owner_of(path)))
            except BlockingIOError as error:
                os.close(lock)
                raise ShardInUse(str(path)) from error
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)  # another process removed the directory, and perhaps made a new one

    def make(self, collection: Collection, space: VectorSpace) -> None:
        """Make a collection's directory unless it is there.

        Raises:
            OSError: the disk refuses.
            ShardBroken: the engine does.
        """
        path = self._path(collection)
        with self._aside(_NEW) as made:
            Shard.create(made / _SHARD, space.dimensions).close()
            about = {
                "format": FORMAT,
                "agent_id": str(collection.agent_id),
                "model": space.model,
                "dimensions": space.dimensions,
            }
            (made / _ABOUT).write_text(json.dumps(about))
            (made / _LOCK).touch(0o600)
            _put(made, path)

    def remove(self, folder: Folder) -> None:
        """Remove a locked directory: out of its place at once, and then what is in it."""
        with self._aside(_TRASH) as trash:
            folder.path.rename(trash / folder.path.name)
        for parent in (folder.path.parent, folder.path.parent.parent):
            with suppress(OSError):  # there are others in it
                parent.rmdir()

    def of_workspace(self, key: WorkspaceKey) -> list[Collection]:
        """Return the collections of a workspace."""
        directory = self._base / str(key.user_id) / str(key.project_id)
        try:
            names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        return [Collection(key, name, _owner_of(directory / name)) for name in names if AGENT_NAME.fullmatch(name)]

    def workspaces(self) -> list[WorkspaceKey]:
        """Return the workspaces that have a directory."""
        users = _named_by_ids(self._base)
        return [WorkspaceKey(user, project) for user in users for project in _named_by_ids(self._base / str(user))]

    def tidy(self) -> None:
        """Remove what killed processes left half made or half removed, and directories with nothing in them."""
        for name in (_NEW, _TRASH):
            with suppress(FileNotFoundError):
                for entry in list(os.scandir(self._base / name)):
                    if entry.stat(follow_symlinks=False).st_mtime < time.time() - _LEFT_BEHIND:
                        shutil.rmtree(entry.path, ignore_errors=True)
        for user in _named_by_ids(self._base):
            for project in _named_by_ids(self._base / str(user)):
                with suppress(OSError):  # there is something in it
                    (self._base / str(user) / str(project)).rmdir()
            with suppress(OSError):
                (self._base / str(user)).rmdir()

    @contextmanager
    def _aside(self, name: str) -> Iterator[Path]:
        """Make a directory that is gone afterwards, unless it was moved away."""
        path = self._base / name / str(uuid4())
        path.mkdir(parents=True, mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _path(self, collection: Collection) -> Path:
        key = collection.key
        if not isinstance(key.user_id, UUID) or not isinstance(key.project_id, UUID):
            raise TypeError(f"{key!r} is no key of a workspace")
        if AGENT_NAME.fullmatch(collection.agent_name) is None:
            raise ValueError(collection.agent_name)
        return self._base / str(key.user_id) / str(key.project_id) / collection.agent_name


def _owner_of(path: Path) -> UUID:
    """Return the agent that a collection was made for."""
    try:
        return UUID(json.loads((path / _ABOUT).read_bytes())["agent_id"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return NOBODY  # it is damaged


def _put(made: Path, path: Path) -> None:
    """Move a directory to its place, unless another process was first.

    Raises:
        OSError: the disk refuses.
    """
    for _ in range(_TRIES):
        # Another process may remove the last neighbour at this moment, and with it the directory.
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            made.rename(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        return
    raise OSError(errno.EBUSY, "it is removed again and again", str(path.parent))


def _named_by_ids(directory: Path) -> list[UUID]:
    """Return the ids that directories are named by, as this module names them."""
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            with suppress(ValueError):
                id_ = UUID(entry.name)
                if str(id_) == entry.name and entry.is_dir(follow_symlinks=False):
                    found.append(id_)
    return sorted(found)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116  # follows nothing that we made
    except FileNotFoundError:
        return False
