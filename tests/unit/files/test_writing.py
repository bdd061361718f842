"""What is written is whole or not there at all, and never goes through what stands in its way."""

import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.ground import SANDBOX, code_of, names_in, needs_root, refused, tree
from workspace.files import WorkspaceFiles, WriteMode, Written
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolErrorCode as Code

OVERWRITE, APPEND, CREATE = WriteMode.OVERWRITE, WriteMode.APPEND, WriteMode.CREATE


def test_each_mode_does_what_it_says(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    assert files.write(key, "f", b"one", CREATE) == Written(3, created=True)
    with refused(Code.ALREADY_EXISTS):
        files.write(key, "f", b"two", CREATE)
    assert (home / "f").read_bytes() == b"one"
    assert files.write(key, "f", b"three", OVERWRITE) == Written(5, created=False)
    assert files.write(key, "f", b"four", APPEND) == Written(9, created=False)
    assert (home / "f").read_bytes() == b"threefour"
    assert files.write(key, "g", b"x", APPEND) == Written(1, created=True)
    assert files.write(key, "h", b"", OVERWRITE) == Written(0, created=True)
    assert names_in(home) == ["f", "g", "h"]
    assert (home / "f").stat().st_nlink == 1


@pytest.mark.parametrize("mode", WriteMode)
def test_directories_that_are_missing_are_made(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, mode: WriteMode
) -> None:
    files.write(key, "a/b/c/f", b"x", mode)
    files.write(key, "a/b/d/f", b"x", mode)
    assert (home / "a" / "b" / "c" / "f").read_bytes() == b"x"
    assert (home / "a" / "b" / "d" / "f").read_bytes() == b"x"


def test_a_large_file_is_written_and_appended_to_whole(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    large = os.urandom(1 << 19)
    files.write(key, "f", large, CREATE)
    files.write(key, "f", large, APPEND)
    assert (home / "f").read_bytes() == large * 2


def test_no_file_grows_over_the_limit(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    with refused(Code.TOO_LARGE):
        files.write(key, "f", b"x" * ((1 << 20) + 1), OVERWRITE)
    files.write(key, "f", b"x" * (1 << 20), OVERWRITE)
    with refused(Code.TOO_LARGE):
        files.write(key, "f", b"x", APPEND)
    with (home / "f").open("ab") as file:
        file.write(b"x")
    with refused(Code.TOO_LARGE):
        files.write(key, "f", b"", APPEND)
    assert names_in(home) == ["f"]


def test_machine_code_is_not_written(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    with refused(Code.FORBIDDEN_FILE_TYPE):
        files.write(key, "lib/libx.so.1", b"", CREATE)
    files.write(key, "x.bin/notes.txt", b"", CREATE)  # a directory is none
    assert names_in(home) == ["x.bin"]


def test_a_directory_is_not_replaced(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    (home / "d").mkdir()
    for mode in WriteMode:
        with refused(Code.NOT_A_FILE):
            files.write(key, "d", b"x", mode)
    assert (home / "d").is_dir()


def test_a_link_is_replaced_and_not_written_through(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, ground: Path
) -> None:
    victim = ground / "victim"
    victim.write_text("theirs")
    (home / "link").symlink_to(victim)
    with refused(Code.ALREADY_EXISTS):
        files.write(key, "link", b"mine", CREATE)
    with refused(Code.NOT_A_FILE):
        files.write(key, "link", b"mine", APPEND)
    files.write(key, "link", b"mine", OVERWRITE)
    assert not (home / "link").is_symlink()
    assert (home / "link").read_text() == "mine"
    assert victim.read_text() == "theirs"


def test_a_link_on_the_way_ends_it(files: WorkspaceFiles, key: WorkspaceKey, home: Path, ground: Path) -> None:
    outside = ground / "outside"
    outside.mkdir()
    (home / "way").symlink_to(outside)
    for path in ("way/f", "way/a/f"):
        with refused(Code.NOT_A_DIRECTORY):
            files.write(key, path, b"x", OVERWRITE)
    assert names_in(outside) == []


def test_a_file_with_a_second_name_is_replaced_and_keeps_its_other_one(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, ground: Path
) -> None:
    victim = ground / "victim"
    victim.write_text("theirs")
    os.link(victim, home / "f")
    with refused(Code.NOT_A_FILE):
        files.write(key, "f", b"mine", APPEND)
    files.write(key, "f", b"mine", OVERWRITE)
    assert victim.read_text() == "theirs"
    assert (home / "f").read_text() == "mine"


def test_a_pipe_is_replaced_and_nobody_waits_for_its_other_end(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    os.mkfifo(home / "pipe")
    with refused(Code.NOT_A_FILE):
        files.write(key, "pipe", b"x", APPEND)
    files.write(key, "pipe", b"x", OVERWRITE)
    assert (home / "pipe").read_text() == "x"


@needs_root
def test_a_device_is_replaced_and_not_written_to(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    try:
        os.mknod(home / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    with refused(Code.NOT_A_FILE):
        files.read(key, "null", offset=0, length=1)
    files.write(key, "null", b"x", OVERWRITE)
    assert stat.S_ISREG((home / "null").lstat().st_mode)


def test_a_script_stays_executable_and_nothing_gets_the_rights_of_its_owner(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    files.write(key, "run.sh", b"#!/bin/sh\n", CREATE)
    assert stat.S_IMODE((home / "run.sh").stat().st_mode) == 0o644
    (home / "run.sh").chmod(0o4755)
    files.write(key, "run.sh", b"exit 0\n", APPEND)
    assert stat.S_IMODE((home / "run.sh").stat().st_mode) == 0o755
    (home / "run.sh").chmod(0o6000)
    files.write(key, "run.sh", b"exit 1\n", OVERWRITE)
    assert stat.S_IMODE((home / "run.sh").stat().st_mode) == 0o600


@needs_root
def test_what_root_writes_belongs_to_the_owner(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    files.write(key, "a/b/f", b"x", CREATE)
    files.write(key, "a/b/f", b"x", APPEND)
    files.write(key, "a/b/f", b"x", OVERWRITE)
    for path in (home, *home.rglob("*")):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == SANDBOX


def test_of_many_that_create_a_file_one_does(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    for number in range(20):
        start = threading.Barrier(8)

        def create(own: int, name: str = f"f{number}", start: threading.Barrier = start) -> Code | None:
            start.wait()
            return code_of(lambda: files.write(key, name, b"%d" % own, CREATE))

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(create, range(8)))
        assert outcomes.count(None) == 1
        assert outcomes.count(Code.ALREADY_EXISTS) == 7
        assert (home / f"f{number}").read_bytes() == b"%d" % outcomes.index(None)


def test_no_append_loses_another_one(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: files.write(key, "log", b"%d\n" % number, APPEND), range(200)))
    assert sorted(map(int, (home / "log").read_text().split())) == list(range(200))


def test_who_reads_while_it_is_written_gets_the_old_file_or_the_new_one(
    files: WorkspaceFiles, key: WorkspaceKey
) -> None:
    whole = [bytes([number]) * 50_000 for number in range(4)]
    files.write(key, "f", whole[0], CREATE)
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            for content in whole:
                files.write(key, "f", content, OVERWRITE)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(500):
            assert files.read(key, "f", offset=0, length=100_000).data in whole
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("mode", WriteMode)
@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, Code.QUOTA_EXCEEDED), (errno.EIO, Code.INTERNAL_ERROR)])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    files: WorkspaceFiles,
    key: WorkspaceKey,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: WriteMode,
    number: int,
    code: Code,
) -> None:
    """The disk is full, or broken: neither can be had here, so the system call says it."""

    def fail(*_: Any) -> int:
        raise OSError(number, os.strerror(number), str(home))

    files.write(key, "old", b"x", CREATE)
    before = tree(home)
    monkeypatch.setattr(os, "write", fail)
    with refused(code):
        files.write(key, "new" if mode is CREATE else "old", b"more", mode)
    monkeypatch.undo()
    assert tree(home) == before


def test_the_temporary_file_of_another_write_is_not_in_the_way(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that guesses the name finds it taken, or takes it; it never gets the content."""
    taken = home / ".codelab-tmp-taken"
    taken.symlink_to("elsewhere")
    monkeypatch.setattr("workspace.files.writing.new_name", lambda: taken.name)
    with refused(Code.ALREADY_EXISTS):
        files.write(key, "f", b"x", CREATE)
    assert not (home / "elsewhere").exists()
