"""Whatever a command built, it can be removed, and nothing else goes with it."""

import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.ground import files_at, names_in, new_key, tree, without_privileges
from workspace.files import WorkspaceFiles, WriteMode, removal
from workspace.names import WorkspaceKey


def trash(files: WorkspaceFiles, key: WorkspaceKey) -> list[str]:
    return names_in(files.path(key).parent.parent / ".trash")


def test_a_workspace_is_removed_with_all_that_is_in_it_and_no_other_one(
    files: WorkspaceFiles, key: WorkspaceKey
) -> None:
    other, beside = new_key(), WorkspaceKey(key.user_id, new_key().project_id)
    for each in (key, other, beside):
        files.write(each, "a/b/c", b"x", WriteMode.CREATE)
    files.remove(key)
    assert set(files.workspaces()) == {other, beside}
    assert files.read(other, "a/b/c", offset=0, length=1).data == b"x"
    assert trash(files, key) == []
    files.remove(key)
    files.remove(beside)
    assert not files.path(key).parent.exists()


def test_a_workspace_that_was_removed_begins_anew(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    files.write(key, "f", b"x" * 10_000, WriteMode.CREATE)
    files.remove(key)
    assert files.usage(key) == (0, 0, True)
    files.write(key, "f", b"x", WriteMode.CREATE)


def _nest(top: Path, levels: int) -> None:
    """Make directories in each other, deeper than any path can say."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(here)
        here = below
    os.close(here)


def test_a_tree_that_is_deeper_than_any_stack_is_removed(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    _nest(home, 2 * sys.getrecursionlimit())
    files.remove(key)
    assert list(files.workspaces()) == []
    assert trash(files, key) == []


def test_a_directory_with_very_many_names_is_removed(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_AT_ONCE", 10)
    for number in range(95):
        (home / f"f{number}").touch()
        (home / f"d{number}").mkdir()
    files.remove(key)
    assert trash(files, key) == []


def test_links_pipes_and_sockets_are_removed_and_what_they_lead_to_is_not(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, ground: Path
) -> None:
    outside = ground / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_text("theirs")
    before = tree(outside)
    (home / "folder").symlink_to(outside / "folder")
    (home / "file").symlink_to(outside / "file")
    os.link(outside / "file", home / "second")
    os.mkfifo(home / "pipe")
    with socket.socket(socket.AF_UNIX) as made, files.opened(key) as root:
        made.bind(f"/proc/self/fd/{root}/s")
    files.remove(key)
    assert trash(files, key) == []
    assert tree(outside) == before


@pytest.mark.parametrize("mode", [0, 0o111, 0o222, 0o444, 0o555])
def test_permissions_do_not_hold_anything_back(ground: Path, key: WorkspaceKey, mode: int) -> None:
    def attempt() -> None:
        files = files_at(ground, owner=None)
        files.write(key, "a/b/c/f", b"x", WriteMode.CREATE)
        home = files.path(key)
        for path in (home / "a" / "b" / "c" / "f", home / "a" / "b" / "c", home / "a" / "b", home / "a", home):
            path.chmod(mode)
        files.remove(key)
        assert list(files.workspaces()) == []
        assert trash(files, key) == []

    ground.chmod(0o777)
    without_privileges(attempt)


def test_many_can_remove_the_same_workspace_at_once(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    for _ in range(10):
        for number in range(20):
            files.write(key, f"{number % 3}/{number % 5}/{number}", b"x", WriteMode.CREATE)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda own: files.empty_trash() if own % 2 else files.remove(key), range(8)))
        files.empty_trash()
        assert list(files.workspaces()) == []
        assert trash(files, key) == []


def test_what_an_interrupted_removal_left_is_removed_by_a_sweep(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    files.write(key, "a/b/c", b"x", WriteMode.CREATE)
    monkeypatch.setattr(os, "rmdir", kill)
    with pytest.raises(Killed):
        files.remove(key)
    monkeypatch.undo()
    assert list(files.workspaces()) == []
    assert trash(files, key) != []
    files.empty_trash()
    assert trash(files, key) == []


def test_what_cannot_be_removed_is_out_of_its_place_and_in_the_log(
    files: WorkspaceFiles, key: WorkspaceKey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "input/output error")

    files.write(key, "f", b"x", WriteMode.CREATE)
    monkeypatch.setattr(os, "unlink", fail)
    files.remove(key)
    assert list(files.workspaces()) == []
    assert "trash_not_emptied" in "".join(capsys.readouterr())
    monkeypatch.undo()
    files.empty_trash()
    assert trash(files, key) == []
