"""Names that are exchanged while they are used: nothing leaks, where the careless way of doing it does."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.security.files import careless
from tests.security.files.racing import assert_only_the_careless_one_leaks, exchanging, skip_without_exchange
from tests.support.ground import code_of, new_key
from workspace.files import WorkspaceFiles, WriteMode
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolError

SECRET = b"of another tenant"
REFUSALS = (OSError, careless.Careless)


@pytest.fixture
def theirs(files: WorkspaceFiles) -> Path:
    """Another tenant's workspace with a file."""
    key = new_key()
    files.write(key, "folder/file", SECRET, WriteMode.CREATE)
    return files.path(key)


@pytest.fixture
def way_out(home: Path, theirs: Path) -> None:
    """A directory and a link out of the workspace whose names can be exchanged: `one` and `two`."""
    (home / "one").mkdir()
    (home / "one" / "file").write_bytes(b"mine")
    (home / "two").symlink_to(theirs / "folder")
    skip_without_exchange(home)


@pytest.fixture
def way_to_a_file(home: Path, theirs: Path) -> None:
    """The same for a file."""
    (home / "one").write_bytes(b"mine")
    (home / "two").symlink_to(theirs / "folder" / "file")
    skip_without_exchange(home)


@pytest.fixture
def second_name(home: Path, theirs: Path) -> None:
    """The same for a file and a second name of another tenant's file, which only root could have made."""
    (home / "one").write_bytes(b"mine")
    os.link(theirs / "folder" / "file", home / "two")
    skip_without_exchange(home)


def _read(files: WorkspaceFiles, key: WorkspaceKey, path: str) -> bytes:
    try:
        return files.read(key, path, offset=0, length=100).data
    except ToolError:
        return b""


def _careless_read(home: Path, path: str) -> bytes:
    with suppress(*REFUSALS):
        return careless.read(home, path)
    return b""


@pytest.mark.parametrize(("way", "path"), [("way_out", "one/file"), ("way_to_a_file", "one"), ("second_name", "one")])
def test_no_race_reads_the_file_of_another_tenant(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, way: str, path: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(way)
    with exchanging(home, "one", "two"):
        assert_only_the_careless_one_leaks(
            lambda: SECRET in _read(files, key, path), lambda: SECRET in _careless_read(home, path)
        )


class _Hangs(BaseException):
    """Something waited for the other end of a pipe."""


def _hangs(work: Callable[[], object]) -> bool:
    """Return whether something does not end by itself; the alarm ends it."""

    def ring(*_: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        work()
    except _Hangs:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return False


def test_no_race_makes_a_reader_wait_for_the_other_end_of_a_pipe(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    (home / "one").write_bytes(b"mine")
    os.mkfifo(home / "two")
    skip_without_exchange(home)
    with exchanging(home, "one", "two"):
        assert_only_the_careless_one_leaks(
            lambda: _hangs(lambda: _read(files, key, "one")), lambda: _hangs(lambda: _careless_read(home, "one"))
        )


@pytest.mark.parametrize("mode", WriteMode)
@pytest.mark.parametrize(("way", "path"), [("way_out", "one/new"), ("way_to_a_file", "one")])
def test_no_race_writes_to_another_tenant(
    files: WorkspaceFiles,
    key: WorkspaceKey,
    home: Path,
    theirs: Path,
    way: str,
    path: str,
    mode: WriteMode,
    request: pytest.FixtureRequest,
) -> None:
    """A new file beside theirs, or theirs replaced."""

    def leaked() -> bool:
        new, old = theirs / "folder" / "new", theirs / "folder" / "file"
        found = new.exists() or old.read_bytes() != SECRET
        new.unlink(missing_ok=True)
        old.write_bytes(SECRET)
        return found

    def ours() -> bool:
        code_of(lambda: files.write(key, path, b"attack", mode))
        if way == "way_to_a_file" and not (home / "two").is_symlink() and not (home / "one").is_symlink():
            _restore_link(home, theirs)
        return leaked()

    def careless_one() -> bool:
        with suppress(*REFUSALS):
            careless.write(home, path, b"attack")
        return leaked()

    request.getfixturevalue(way)
    with exchanging(home, "one", "two"):
        assert_only_the_careless_one_leaks(ours, careless_one)


def _restore_link(home: Path, theirs: Path) -> None:
    """Put the link back that an overwrite has replaced, as it should."""
    (home / "new-link").symlink_to(theirs / "folder" / "file")
    (home / "new-link").rename(home / "two")


def test_no_race_appends_to_the_file_of_another_tenant(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, theirs: Path, second_name: None
) -> None:
    victim = theirs / "folder" / "file"

    def leaked() -> bool:
        found = victim.read_bytes() != SECRET
        victim.write_bytes(SECRET)
        return found

    def ours() -> bool:
        code_of(lambda: files.write(key, "one", b"attack", WriteMode.APPEND))
        return leaked() or any(SECRET in _own_content(home / name) for name in ("one", "two"))

    def careless_one() -> bool:
        with suppress(*REFUSALS):
            careless.append(home, "one", b"attack")
        return leaked()

    with exchanging(home, "one", "two"):
        assert_only_the_careless_one_leaks(ours, careless_one)


def _own_content(path: Path) -> bytes:
    """Return what a file holds that has no second name: a copy of theirs would be one."""
    with path.open("rb") as file:
        return file.read() if os.fstat(file.fileno()).st_nlink == 1 else b""


def test_no_race_lists_the_files_of_another_tenant(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, theirs: Path, way_out: None
) -> None:
    (theirs / "folder" / "secret-name").touch()

    def ours(path: str) -> bool:
        with suppress(ToolError):
            found = files.list(key, path, recursive=True, pattern=None)
            return any("secret-name" in entry.path for entry in found.entries)
        return False

    def careless_one() -> bool:
        with suppress(*REFUSALS):
            return "secret-name" in careless.list_recursively(home, ".")
        return False

    with exchanging(home, "one", "two"):
        assert_only_the_careless_one_leaks(lambda: ours(".") or ours("one"), careless_one)


def test_no_race_makes_a_measurement_count_what_is_outside(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, theirs: Path, way_out: None
) -> None:
    large = 10_000_000
    with (theirs / "folder" / "large").open("wb") as file:
        file.truncate(large)

    def ours() -> bool:
        files.changed(key)
        return files.usage(key).bytes >= large

    def careless_one() -> bool:
        with suppress(OSError):
            return careless.measure(home) >= large
        return False

    with exchanging(home, "one", "two"):
        assert_only_the_careless_one_leaks(ours, careless_one)


def test_no_race_makes_a_removal_remove_what_is_outside(files: WorkspaceFiles, key: WorkspaceKey, theirs: Path) -> None:
    """The attacker goes on after the workspace was taken from its place: it has a descriptor of it."""
    home, building = files.path(key), files.path(key).with_name("building")
    victims = [theirs / "folder" / f"f{number}" for number in range(10)]

    def attempt(remove: Callable[[], None]) -> bool:
        (building / "one").mkdir(parents=True)
        (building / "two").symlink_to(theirs / "folder")
        for victim in victims:
            (building / "one" / victim.name).touch()
            victim.parent.mkdir(exist_ok=True)
            victim.touch()
        building.rename(home)
        with suppress(OSError):
            remove()
        files.remove(key)
        return not all(victim.exists() for victim in victims)

    with exchanging(home, "one", "two"):
        assert_only_the_careless_one_leaks(
            lambda: attempt(lambda: files.remove(key)), lambda: attempt(lambda: careless.remove(home))
        )


def test_of_two_that_create_the_same_file_only_one_is_told_that_it_did(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    """Two processes, each of which creates what the other one does, and tells by its content whose it is."""

    def race(create: Callable[[str], bool]) -> bool:
        name = uuid4().hex
        ready, go = os.pipe()
        results, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(ready, 1)
            os.write(told, b"1" if create(name) else b"0")
            os._exit(0)
        os.write(go, b"x")
        mine = create(name)
        os.waitpid(child, 0)
        theirs = os.read(results, 1) == b"1"
        for fd in (ready, go, results, told):
            os.close(fd)
        assert mine or theirs
        return mine and theirs

    assert_only_the_careless_one_leaks(
        lambda: race(lambda name: code_of(lambda: files.write(key, name, b"x", WriteMode.CREATE)) is None),
        lambda: race(lambda name: careless.create(home, name, b"x")),
    )
