"""How it is often done: a path is checked with `realpath`, and opened afterwards. Known to leak; only races use it."""

import os
from pathlib import Path


class Careless(Exception):
    """The check refused a path."""


def _checked(home: Path, path: str) -> Path:
    if not Path(os.path.realpath(home / path)).is_relative_to(home):
        raise Careless
    return home / path


def _single(path: Path) -> Path:
    if path.stat().st_nlink != 1:
        raise Careless
    return path


def read(home: Path, path: str) -> bytes:
    checked = _single(_checked(home, path))
    if not checked.is_file():
        raise Careless
    return checked.read_bytes()


def write(home: Path, path: str, content: bytes) -> None:
    with _checked(home, path).open("wb") as file:
        file.write(content)


def append(home: Path, path: str, content: bytes) -> None:
    with _single(_checked(home, path)).open("ab") as file:
        file.write(content)


def list_recursively(home: Path, path: str) -> list[str]:
    found = []
    for name in sorted(each.name for each in _checked(home, path).iterdir()):
        found.append(name)
        below = f"{path}/{name}"
        if (home / below).is_dir() and not (home / below).is_symlink():
            found += list_recursively(home, below)
    return found


def create(home: Path, path: str, content: bytes) -> bool:
    if (home / path).exists():
        return False
    (home / path).write_bytes(content)
    return True


def measure(home: Path) -> int:
    total = 0
    for path in home.iterdir():
        if path.is_symlink():
            continue
        total += measure(path) if path.is_dir() else path.stat().st_size
    return total


def remove(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            remove(path)
        else:
            path.unlink()
    directory.rmdir()
