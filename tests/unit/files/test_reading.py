"""What is read: regular files of the workspace, a part at a time."""

import os
import socket
from pathlib import Path

import pytest

from tests.support.ground import (
    code_of,
    files_at,
    give_to_sandbox,
    new_key,
    open_descriptors,
    refused,
    without_privileges,
)
from workspace.files import Content, WorkspaceFiles, WriteMode
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolErrorCode as Code


def read(files: WorkspaceFiles, key: WorkspaceKey, path: str, offset: int = 0, length: int = 100) -> Content:
    return files.read(key, path, offset=offset, length=length)


def test_a_file_is_read_as_it_was_written(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    data = bytes(range(256))
    files.write(key, "a/b/c/d/file", data, WriteMode.CREATE)
    assert read(files, key, "a/b/c/d/file", length=1_000) == Content(data, 256)
    assert read(files, key, "./a//b/c/./d/file", length=1_000) == Content(data, 256)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 3, b"012"), (7, 3, b"789"), (7, 100, b"789"), (10, 5, b""), (10**30, 5, b""), (0, 0, b"")],
)
def test_a_part_of_a_file_is_read(
    files: WorkspaceFiles, key: WorkspaceKey, offset: int, length: int, expected: bytes
) -> None:
    files.write(key, "digits", b"0123456789", WriteMode.CREATE)
    assert read(files, key, "digits", offset, length) == Content(expected, 10)


def test_a_file_that_is_larger_than_the_limit_is_not_read_in_parts_either(
    ground: Path, key: WorkspaceKey, home: Path
) -> None:
    (home / "large").write_bytes(b"x" * 1_001)
    small = files_at(ground, largest_file=1_000)
    with refused(Code.TOO_LARGE):
        read(small, key, "large", length=1)
    (home / "large").write_bytes(b"x" * 1_000)
    assert read(small, key, "large", length=1) == Content(b"x", 1_000)


def test_what_is_not_there_is_not_found_and_reading_makes_no_workspace(
    files: WorkspaceFiles, key: WorkspaceKey
) -> None:
    with refused(Code.NOT_FOUND):
        read(files, key, "a")
    assert list(files.workspaces()) == []
    files.write(key, "a/b", b"", WriteMode.CREATE)
    for path in ("b", "a/c", "b/c"):
        with refused(Code.NOT_FOUND):
            read(files, key, path)


def test_directories_and_paths_through_files_are_told_apart(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    files.write(key, "a/b", b"", WriteMode.CREATE)
    with refused(Code.NOT_A_FILE):
        read(files, key, "a")
    with refused(Code.NOT_A_DIRECTORY):
        read(files, key, "a/b/c")


def test_a_link_is_not_followed_wherever_it_leads(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    (home / "file").write_text("mine")
    (home / "folder").mkdir()
    (home / "folder" / "file").write_text("mine")
    for name, target in {"inside": "file", "absolute": "/etc/passwd", "nowhere": "x", "loop": "loop"}.items():
        (home / name).symlink_to(target)
        with refused(Code.NOT_A_FILE):
            read(files, key, name)
    for name, target in {"dir": "folder", "root": "/", "here": "."}.items():
        (home / name).symlink_to(target)
        with refused(Code.NOT_A_DIRECTORY):
            read(files, key, f"{name}/file")


def test_a_file_with_a_second_name_is_not_read_by_either(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    (home / "one").write_text("x")
    os.link(home / "one", home / "two")
    for name in ("one", "two"):
        with refused(Code.NOT_A_FILE):
            read(files, key, name)
    (home / "two").unlink()
    assert read(files, key, "one").data == b"x"


def test_a_pipe_does_not_hold_the_reader(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    os.mkfifo(home / "pipe")
    with refused(Code.NOT_A_FILE):
        read(files, key, "pipe")


def test_a_socket_is_no_file(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, files.opened(key) as root:
        made.bind(f"/proc/self/fd/{root}/s")  # its address may have 108 bytes only
        with refused(Code.NOT_A_FILE):
            read(files, key, "s")


def test_a_file_whose_permissions_were_taken_is_told_as_that(ground: Path, key: WorkspaceKey) -> None:
    def attempt() -> None:
        files = files_at(ground, owner=None)
        home = files.path(key)
        files.write(key, "closed", b"x", WriteMode.CREATE)
        files.write(key, "folder/file", b"x", WriteMode.CREATE)
        (home / "closed").chmod(0)
        (home / "folder").chmod(0)
        for path in ("closed", "folder/file"):
            with refused(Code.PERMISSION_DENIED):
                read(files, key, path)
        with refused(Code.PERMISSION_DENIED):
            files.write(key, "folder/file", b"", WriteMode.OVERWRITE)
        with refused(Code.PERMISSION_DENIED):
            files.list(key, "folder", recursive=False, pattern=None)

    ground.chmod(0o777)
    without_privileges(attempt)


def test_a_workspace_that_a_command_closed_is_opened_again(ground: Path, key: WorkspaceKey) -> None:
    def attempt() -> None:
        files = files_at(ground, owner=None)
        files.write(key, "file", b"x", WriteMode.CREATE)
        for mode in (0, 0o333, 0o777):
            files.path(key).chmod(mode)
            assert read(files, key, "file").data == b"x"
            assert files.path(key).stat().st_mode & 0o777 == 0o700

    ground.chmod(0o777)
    without_privileges(attempt)


def test_nobody_reads_the_files_of_another_workspace(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    other = new_key()
    files.write(other, "secret", b"theirs", WriteMode.CREATE)
    beside = WorkspaceKey(key.user_id, other.project_id)
    (home / "way").symlink_to(files.path(other))
    give_to_sandbox(home / "way")
    there = files.path(other)
    for path in (
        "secret",
        "way/secret",
        f"../../{other.user_id}/{other.project_id}/secret",
        f"../{other.project_id}/secret",
        str(there / "secret"),
        f"/proc/self/root{there}/secret",
    ):
        for asking in (key, beside):
            code = code_of(lambda path=path, asking=asking: read(files, asking, path))
            assert code in {Code.NOT_FOUND, Code.INVALID_PATH, Code.NOT_A_DIRECTORY}


def test_every_descriptor_is_closed_again(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    files.write(key, "a/b/c", b"x", WriteMode.CREATE)
    os.mkfifo(home / "pipe")
    (home / "link").symlink_to("a")
    before = open_descriptors()
    for path in ("a/b/c", "a/b/x", "a/b", "a/b/c/d", "pipe", "link/b/c", "..", "x/y"):
        for attempt in (
            lambda path=path: read(files, key, path),
            lambda path=path: files.write(key, path, b"", WriteMode.APPEND),
            lambda path=path: files.write(key, path, b"", WriteMode.CREATE),
            lambda path=path: files.list(key, path, recursive=True, pattern=None),
            lambda: files.usage(key),
        ):
            code_of(attempt)
    files.remove(key)
    files.empty_trash()
    assert open_descriptors() == before
