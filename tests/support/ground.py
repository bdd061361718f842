"""A real disk for workspaces: a directory that the sandbox's account can reach, and what is needed to look at it."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from workspace.files import Owner, WorkspaceFiles
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolError, ToolErrorCode

IS_ROOT = os.geteuid() == 0
SANDBOX = Owner(64_998, 64_998)
"""An account that nobody has."""

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files to another account")

_PREFIX = "codelab-ground-"


@contextmanager
def new_ground() -> Iterator[Path]:
    """Make a directory that every account can pass through; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    path.chmod(0o711)
    try:
        yield path
    finally:
        subprocess.run(["chmod", "-R", "u+rwx", path], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", path], check=True)


def new_key() -> WorkspaceKey:
    return WorkspaceKey(uuid4(), uuid4())


def files_at(
    ground: Path,
    *,
    quota_bytes: int = 1 << 30,
    quota_entries: int = 10_000,
    largest_file: int = 1 << 20,
    owner: Owner | None = SANDBOX if IS_ROOT else None,
    **others: Any,
) -> WorkspaceFiles:
    """Make the files as a deployment does: for root they belong to the sandbox's account."""
    return WorkspaceFiles(
        ground / "workspaces",
        quota_bytes=quota_bytes,
        quota_entries=quota_entries,
        largest_file=largest_file,
        owner=owner,
        **others,
    )


@contextmanager
def refused(code: ToolErrorCode) -> Iterator[pytest.ExceptionInfo[ToolError]]:
    """Expect a refusal, whose text tells nothing of the host."""
    with pytest.raises(ToolError) as caught:
        yield caught
    assert caught.value.code is code, caught.value.detail
    assert _PREFIX not in caught.value.detail


def tree(path: Path) -> dict[str, tuple[int, bytes | str]]:
    """Return all that is below a directory: types, permissions and contents."""
    return {str(each.relative_to(path)): (each.lstat().st_mode, _content(each)) for each in sorted(path.rglob("*"))}


def _content(path: Path) -> bytes | str:
    if path.is_symlink():
        return str(path.readlink())
    return path.read_bytes() if path.is_file() else ""


def without_privileges(work: Callable[[], None]) -> None:
    """Do something as the sandbox's account would, in a process of its own; its failure is ours.

    Root passes every permission, so what a deployment without root meets shows only like this.
    """
    if not IS_ROOT:
        work()
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(SANDBOX.gid, SANDBOX.gid, SANDBOX.gid)
            os.setresuid(SANDBOX.uid, SANDBOX.uid, SANDBOX.uid)
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "see the traceback on standard error"


def give_to_sandbox(*paths: Path) -> None:
    """Make what a test built look as if a command had."""
    if IS_ROOT:
        for path in paths:
            os.chown(path, *SANDBOX, follow_symlinks=False)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def code_of(attempt: Callable[[], object]) -> ToolErrorCode | None:
    """Return how something is refused, `None` if it is not."""
    try:
        attempt()
    except ToolError as error:
        return error.code
    return None
