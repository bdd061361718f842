"""What a workspace may hold, and how that is counted."""

import os
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.clock import Clock
from tests.support.ground import code_of, files_at, names_in, new_key, open_descriptors, refused, without_privileges
from workspace.files import Usage, WorkspaceFiles, WriteMode
from workspace.files.quota import LONGEST_TRUST, Accounts
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolErrorCode as Code

OVERWRITE, APPEND, CREATE = WriteMode.OVERWRITE, WriteMode.APPEND, WriteMode.CREATE
BLOCK = 4096


def on_disk(home: Path) -> Usage:
    """Count by other means; a link may be kept without a block of its own."""
    found = [path.lstat() for path in home.rglob("*")]
    links = sum(status.st_size for status in found if stat.S_ISLNK(status.st_mode) and not status.st_blocks)
    return Usage(sum(status.st_blocks * 512 for status in found) + links, len(found))


# -- measuring --------------------------------------------------------------------------------------------------------


def test_a_workspace_that_is_not_there_takes_nothing_and_is_not_made(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    assert files.usage(key) == Usage(0, 0)
    assert list(files.workspaces()) == []


def test_the_usage_is_what_is_on_the_disk(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    for number in range(20):
        files.write(key, f"d{number % 3}/e/f{number}", os.urandom(number * 1_000), CREATE)
    (home / "link").symlink_to("/etc")
    files.changed(key)
    assert files.usage(key) == on_disk(home)
    assert files.usage(key).entries == 27


def test_the_usage_after_writes_is_that_of_a_measurement(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    files.usage(key)
    for path, size, mode in (
        ("a", 5_000, CREATE),
        ("b/c/d", 1, CREATE),
        ("a", 1, OVERWRITE),
        ("a", 10_000, APPEND),
        ("a", 0, OVERWRITE),
        ("b/e", 0, APPEND),
    ):
        files.write(key, path, b"x" * size, mode)
        assert files.usage(key) == on_disk(home), path


def test_room_behind_the_end_of_a_file_and_holes_in_one_count(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    with (home / "hole").open("wb") as file:
        file.truncate(10_000_000)
    assert files.usage(key).bytes >= 10_000_000
    (home / "hole").unlink()
    (home / "behind").touch()
    subprocess.run(["fallocate", "--keep-size", "--length", "8M", home / "behind"], check=False)
    if (home / "behind").stat().st_blocks * 512 < 8_000_000:
        pytest.skip("this file system does not set room aside behind the end of a file")
    files.changed(key)
    assert files.usage(key).bytes >= 8_000_000


def test_a_file_with_many_names_counts_once_but_each_name_is_an_entry(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    (home / "a").write_bytes(b"x" * 100_000)
    for number in range(5):
        os.link(home / "a", home / f"b{number}")
    assert files.usage(key).entries == 6
    assert files.usage(key).bytes < 200_000


def test_nothing_outside_is_counted(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    (home / "root").symlink_to("/")
    assert files.usage(key).entries == 1


def test_counting_ends_where_there_is_too_much(ground: Path, key: WorkspaceKey) -> None:
    files = files_at(ground, quota_entries=10)
    with files.opened(key):
        for number in range(50):
            (files.path(key) / f"f{number}").touch()
    assert files.usage(key) == Usage(0, 11, complete=False)
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "g", b"", CREATE)


def test_what_is_hidden_too_deep_counts_as_too_much(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    home.joinpath(*["d"] * 64).mkdir(parents=True)
    assert files.usage(key).complete
    home.joinpath(*["d"] * 65).mkdir()
    files.changed(key)
    before = open_descriptors()
    assert not files.usage(key).complete
    assert open_descriptors() == before
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "f", b"x", CREATE)


def test_what_is_hidden_by_permissions_counts_as_too_much(ground: Path, key: WorkspaceKey) -> None:
    def attempt() -> None:
        files = files_at(ground, owner=None)
        files.write(key, "hidden/file", b"x" * 100_000, CREATE)
        (files.path(key) / "hidden").chmod(0)
        files.changed(key)
        assert not files.usage(key).complete
        with refused(Code.QUOTA_EXCEEDED):
            files.write(key, "more", b"x", CREATE)
        (files.path(key) / "hidden").chmod(0o700)
        files.changed(key)
        files.write(key, "more", b"x", CREATE)

    ground.chmod(0o777)
    without_privileges(attempt)


def test_what_a_crash_left_behind_counts_until_it_is_old_and_is_removed_then(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    (home / "d").mkdir()
    left = home / "d" / ".codelab-tmp-0123456789abcdef"
    left.write_bytes(b"x" * 100_000)
    (home / ".codelab-tmp-folder").mkdir()
    assert files.usage(key).bytes >= 100_000
    an_hour_ago = time.time() - 3_601
    for path in (left, home / ".codelab-tmp-folder", home / "d"):
        os.utime(path, (an_hour_ago, an_hour_ago))
    files.changed(key)
    assert files.usage(key).bytes < 100_000
    assert names_in(home) == [".codelab-tmp-folder", "d"]  # only files are the server's
    assert names_in(home / "d") == []


def test_a_measurement_can_be_stopped_and_is_done_again(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    class Stopped(BaseException):
        pass

    def stop() -> None:
        raise Stopped

    for number in range(600):
        (home / f"f{number}").touch()
    before = open_descriptors()
    with pytest.raises(Stopped):
        files.usage(key, check=stop)
    assert open_descriptors() == before
    assert files.usage(key).entries == 600


# -- refusing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", WriteMode)
def test_a_write_over_the_quota_is_refused_before_anything_is_done(
    ground: Path, key: WorkspaceKey, mode: WriteMode
) -> None:
    files = files_at(ground, quota_bytes=10 * BLOCK)
    files.write(key, "a", b"x" * 8 * BLOCK, CREATE)
    path = "b" if mode is CREATE else "a"
    size = {CREATE: 3, OVERWRITE: 11, APPEND: 3}[mode] * BLOCK
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, path, b"x" * size, mode)
    assert names_in(files.path(key)) == ["a"]
    assert (files.path(key) / "a").stat().st_size == 8 * BLOCK
    files.write(key, path, b"x" * (size - BLOCK), mode)


def test_the_last_entry_can_be_used_and_no_other(ground: Path, key: WorkspaceKey) -> None:
    files = files_at(ground, quota_entries=4)
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "a/b/c/d/e", b"", CREATE)
    assert names_in(files.path(key)) == []
    files.write(key, "a/b/c", b"", CREATE)
    files.write(key, "d", b"", CREATE)
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "e", b"", CREATE)
    files.write(key, "d", b"x", OVERWRITE)


def test_who_is_over_the_quota_can_make_room(ground: Path, key: WorkspaceKey) -> None:
    files = files_at(ground, quota_bytes=10 * BLOCK)
    with files.opened(key):
        (files.path(key) / "a").write_bytes(b"x" * 20 * BLOCK)
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "b", b"x", CREATE)
    files.write(key, "a", b"x" * 15 * BLOCK, OVERWRITE)
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "b", b"x", CREATE)
    files.write(key, "a", b"x", OVERWRITE)
    files.write(key, "b", b"x", CREATE)


def test_replacing_a_file_with_a_second_name_frees_nothing(ground: Path, key: WorkspaceKey) -> None:
    files = files_at(ground, quota_bytes=10 * BLOCK)
    with files.opened(key):
        (files.path(key) / "a").write_bytes(b"x" * 8 * BLOCK)
        os.link(files.path(key) / "a", files.path(key) / "b")
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "a", b"x" * 3 * BLOCK, OVERWRITE)


def test_writers_at_the_same_time_do_not_exceed_it_together(ground: Path, key: WorkspaceKey) -> None:
    files = files_at(ground, quota_bytes=10 * BLOCK)

    def write(number: int) -> Code | None:
        return code_of(lambda: files.write(key, f"f{number}", b"x" * 3 * BLOCK, CREATE))

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(write, range(20)))
    assert outcomes.count(None) == 3
    assert outcomes.count(Code.QUOTA_EXCEEDED) == 17


def test_each_workspace_has_a_quota_of_its_own(ground: Path) -> None:
    files = files_at(ground, quota_entries=1)
    user = uuid4()
    for key in (WorkspaceKey(user, uuid4()), WorkspaceKey(user, uuid4()), new_key()):
        files.write(key, "f", b"", CREATE)


def test_a_write_that_failed_is_not_counted(ground: Path, key: WorkspaceKey, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_at(ground, quota_bytes=10 * BLOCK)

    def fail(*_: object) -> int:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "write", fail)
    with refused(Code.QUOTA_EXCEEDED):
        files.write(key, "a", b"x" * 8 * BLOCK, CREATE)
    monkeypatch.undo()
    files.write(key, "a", b"x" * 8 * BLOCK, CREATE)


# -- the accounts -----------------------------------------------------------------------------------------------------


def _nothing() -> None:
    return


class Meter:
    """Counts how often it is asked to measure."""

    def __init__(self, usage: Usage) -> None:
        self.usage = usage
        self.times = 0

    def __call__(self) -> Usage:
        self.times += 1
        return self.usage


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def accounts(clock: Clock) -> Accounts:
    return Accounts(most_bytes=100, most_entries=10, size=2, clock=clock)


def test_a_measurement_is_believed_for_a_minute_or_until_a_change(
    accounts: Accounts, clock: Clock, key: WorkspaceKey
) -> None:
    meter = Meter(Usage(1, 1))

    def ask() -> int:
        with accounts.held(key, _nothing) as account:
            account.usage(meter)
        return meter.times

    assert [ask(), ask()] == [1, 1]
    clock.now += LONGEST_TRUST - 0.001
    assert ask() == 1
    clock.now += 0.001
    assert [ask(), ask()] == [2, 2]
    accounts.changed(key)
    assert [ask(), ask()] == [3, 3]


def test_a_change_during_a_measurement_is_not_forgotten(accounts: Accounts, key: WorkspaceKey) -> None:
    meter = Meter(Usage(1, 1))

    def measure() -> Usage:
        if meter.times == 0:
            accounts.changed(key)
        return meter()

    for expected in (1, 2, 2):
        with accounts.held(key, _nothing) as account:
            account.usage(measure)
        assert meter.times == expected


def test_before_a_refusal_by_an_estimate_it_is_measured_once(accounts: Accounts, key: WorkspaceKey) -> None:
    meter = Meter(Usage(0, 0))

    def admit(bytes_: int) -> int:
        with accounts.held(key, _nothing) as account:
            account.admit(bytes_, 1, meter)
        return meter.times

    assert [admit(60), admit(60)] == [1, 2]
    meter.usage = Usage(90, 1)
    for _ in range(3):
        with refused(Code.QUOTA_EXCEEDED):
            admit(60)
        assert meter.times == 3


def test_who_waits_for_a_workspace_can_be_stopped(accounts: Accounts, key: WorkspaceKey) -> None:
    class Stopped(BaseException):
        pass

    def stop() -> None:
        raise Stopped

    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with accounts.held(key, _nothing):
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        with pytest.raises(Stopped), accounts.held(key, stop):
            pass
    finally:
        done.set()
        holder.join()
    with accounts.held(key, stop):
        pass


def test_accounts_that_nobody_uses_are_forgotten_and_no_other(accounts: Accounts, clock: Clock) -> None:
    meter = Meter(Usage(5, 1))
    first, second, third, fourth = (new_key() for _ in range(4))
    with accounts.held(first, _nothing) as kept:
        with accounts.held(second, _nothing) as account:
            account.usage(meter)
        clock.now += LONGEST_TRUST
        for key in (third, fourth):
            with accounts.held(key, _nothing) as account:
                account.usage(meter)
        assert kept.users == 1
        assert set(accounts._accounts) == {first, third, fourth}
