"""Where workspaces are: by id alone, in directories that are the server's own."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.ground import SANDBOX, files_at, names_in, needs_root, new_key, refused, without_privileges
from workspace.files import Owner, WorkspaceFiles, WriteMode
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolErrorCode as Code


def test_nothing_is_made_before_it_is_needed(ground: Path, files: WorkspaceFiles, key: WorkspaceKey) -> None:
    assert list(files.workspaces()) == []
    files.remove(key)
    files.empty_trash()
    files.changed(key)
    assert names_in(ground) == []


def test_a_workspace_is_found_by_its_ids(ground: Path, files: WorkspaceFiles, key: WorkspaceKey) -> None:
    with files.opened(key) as fd:
        assert str(Path(f"/proc/self/fd/{fd}").readlink()) == str(files.path(key))
    assert files.path(key) == ground / "workspaces" / str(key.user_id) / str(key.project_id)


@pytest.mark.parametrize("name", ["..", "../..", "x", ""])
def test_nothing_but_an_id_is_the_name_of_a_directory(files: WorkspaceFiles, name: Any) -> None:
    for key in (WorkspaceKey(name, uuid4()), WorkspaceKey(uuid4(), name)):
        for ask in (files.path, files.remove, lambda key: files.opened(key).__enter__()):
            with files.opened(new_key()), pytest.raises(TypeError):
                ask(key)


def test_only_the_server_can_list_its_own_directories(ground: Path, files: WorkspaceFiles, key: WorkspaceKey) -> None:
    with files.opened(key):
        pass
    files.remove(new_key())
    home = files.path(key)
    own = (home.parent.parent, home.parent, home.parent.parent / ".trash")
    for path in own:
        status = path.stat()
        assert status.st_uid == os.geteuid()
        assert stat.S_IMODE(status.st_mode) == 0o700
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@needs_root
def test_the_account_of_commands_can_not_pass_through_what_is_above_a_workspace(
    files: WorkspaceFiles, key: WorkspaceKey
) -> None:
    """It is carried to one workspace by a descriptor; by a path it reaches none, its own included."""
    files.write(key, "f", b"x", WriteMode.CREATE)
    home = files.path(key)

    def attempt() -> None:
        for path in (home.parent, home.parent.parent):
            with pytest.raises(PermissionError):
                names_in(path)
            with pytest.raises(PermissionError):
                (path / "new").touch()
        with pytest.raises(PermissionError):
            (home / "f").read_text()

    without_privileges(attempt)


def test_permissions_that_were_loosened_are_set_right_again(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    before = [path.stat().st_mode for path in (home, home.parent, home.parent.parent)]
    for path in (home, home.parent, home.parent.parent):
        path.chmod(0o777)
    with files.opened(key):
        pass
    assert [path.stat().st_mode for path in (home, home.parent, home.parent.parent)] == before


@needs_root
def test_a_directory_that_a_crash_left_with_root_is_given_to_its_owner(ground: Path, key: WorkspaceKey) -> None:
    with files_at(ground, owner=None).opened(key):
        pass
    files = files_at(ground)
    with files.opened(key):
        pass
    status = files.path(key).stat()
    assert (status.st_uid, status.st_gid) == SANDBOX


def test_only_root_can_have_an_owner(ground: Path) -> None:
    def attempt() -> None:
        with pytest.raises(ValueError, match="only root"):
            files_at(ground, owner=Owner(1, 1))

    without_privileges(attempt)


@pytest.mark.parametrize("which", ["base", "user", "project"])
def test_a_link_in_the_place_of_a_directory_of_the_server_is_not_followed(
    ground: Path, files: WorkspaceFiles, key: WorkspaceKey, which: str
) -> None:
    elsewhere = ground / "elsewhere"
    elsewhere.mkdir()
    home = files.path(key)
    place = {"base": home.parent.parent, "user": home.parent, "project": home}[which]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(elsewhere)
    with refused(Code.NOT_A_DIRECTORY):
        files.write(key, "f", b"x", WriteMode.CREATE)
    assert names_in(elsewhere) == []


def test_workspaces_are_told_for_a_sweep_and_nothing_else_is(
    ground: Path, files: WorkspaceFiles, key: WorkspaceKey
) -> None:
    keys = {key, WorkspaceKey(key.user_id, uuid4()), new_key()}
    for each in keys:
        with files.opened(each):
            pass
    base = ground / "workspaces"
    for name in ("x", str(uuid4()).upper(), f"{uuid4()}.old", uuid4().hex):
        (base / name).mkdir()
        (base / str(key.user_id) / name).mkdir()
    (base / str(uuid4())).touch()
    files.remove(new_key())
    assert set(files.workspaces()) == keys


def test_many_can_make_the_same_workspace_at_once(files: WorkspaceFiles) -> None:
    user = uuid4()
    keys = [WorkspaceKey(user, uuid4()) for _ in range(4)] * 8

    def make(key: WorkspaceKey) -> None:
        with files.opened(key):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, keys))
    assert set(files.workspaces()) == set(keys)


def test_one_project_is_made_while_another_one_of_its_user_is_removed(files: WorkspaceFiles) -> None:
    """The user's directory comes and goes under the hands of both."""
    user = uuid4()

    def work(_: int) -> None:
        key = WorkspaceKey(user, uuid4())
        for _ in range(50):
            with files.opened(key):
                pass
            files.remove(key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert list(files.workspaces()) == []
