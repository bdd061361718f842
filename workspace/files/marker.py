"""The id of a data directory: nodes that do not see the same one must not take each other's workspaces."""

import os
from pathlib import Path
from uuid import UUID, uuid4

NAME = "id"
_LENGTH = len(str(UUID(int=0)))


def data_dir_id(data_dir: Path) -> UUID:
    """Return the id of a data directory; the first process to ask makes the directory and its id.

    Of several that ask at once all get the same answer, on a network's file system too.

    Raises:
        OSError: the directory cannot be read or written.
        ValueError: the file `id` in it is damaged.
    """
    marker = data_dir / NAME
    try:
        return _read(marker)
    except FileNotFoundError:
        data_dir.mkdir(parents=True, exist_ok=True)
        _write_once(marker)
        return _read(marker)


def _read(marker: Path) -> UUID:
    with os.fdopen(os.open(marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        text = file.read(_LENGTH + 2).decode("ascii", "replace").strip()
    id_ = UUID(text)
    if str(id_) != text:
        raise ValueError(f"{marker} holds no id")
    return id_


def _write_once(marker: Path) -> None:
    """Write the file whole or not at all, and leave one that is there as it is."""
    temporary = marker.with_name(f".{NAME}-{uuid4()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(f"{uuid4()}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, marker)  # a rename would replace what another process wrote meanwhile
        except FileExistsError:
            return
    finally:
        temporary.unlink()
