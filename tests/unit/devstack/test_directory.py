"""The directory of a stack: its lock, what is forgotten and what is swept away."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from devstack import directory as module
from devstack.directory import StackDirectory, StackLock, holder, sweep, temporary, write_private
from devstack.errors import StackError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "HOME", tmp_path)
    return tmp_path


def made(home: Path) -> StackDirectory:
    directory = StackDirectory(home)
    directory.create()
    return directory


def test_a_second_stack_is_refused_with_the_pid_of_the_first(home: Path) -> None:
    directory = made(home)
    lock = StackLock.acquire(directory)
    with pytest.raises(StackError, match=rf"pid {os.getpid()}.*make down"):
        StackLock.acquire(directory)
    with pytest.raises(StackError, match=rf"pid {os.getpid()}"):
        directory.refuse_if_held()
    assert holder(directory) == os.getpid()
    lock.release()
    assert holder(directory) is None
    StackLock.acquire(directory).release()


def test_the_lock_is_held_until_everybody_who_inherited_it_has_ended(home: Path) -> None:
    directory = made(home)
    lock = StackLock.acquire(directory)
    inherited = fcntl.fcntl(lock.descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
    lock.release()
    assert holder(directory) == os.getpid()
    os.close(inherited)
    assert holder(directory) is None


def test_ending_removes_what_was_true_only_while_the_stack_ran(home: Path) -> None:
    directory = made(home)
    private = home / "elsewhere"
    private.mkdir()
    directory.write_state({"private_directories": [str(private)]})
    write_private(directory.env_file, "A=1\n")
    directory.forget()
    assert not private.exists()
    assert not directory.env_file.exists()
    assert directory.read_state() == {}


def test_the_logs_of_a_failure_are_all_that_stays(home: Path) -> None:
    directory = temporary()
    directory.create()
    directory.log("api").write_text("why")
    (directory.path / "postgres").mkdir()
    write_private(directory.secrets_file, "{}")
    directory.remove(keep_logs=True)
    assert [path.name for path in directory.path.iterdir()] == ["logs"]
    directory.remove(keep_logs=False)
    assert not directory.path.exists()


def test_sweeping_takes_the_dead_and_leaves_the_living(home: Path) -> None:
    living, dead, failed, old = temporary(), temporary(), temporary(), temporary()
    for each in (living, dead, failed, old):
        each.create()
    for each in (living, dead):
        each.write_state({})
    lock = StackLock.acquire(living)
    yesterday = time.time() - module.KEPT_LOGS_SECONDS - 60
    os.utime(old.path, (yesterday, yesterday))
    sweep()
    lock.release()
    assert [each.path.exists() for each in (living, dead, failed, old)] == [True, False, True, False]


def test_a_private_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_checkout_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot write"):
        StackDirectory(tmp_path / "file" / "stack").create()
