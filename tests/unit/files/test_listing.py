"""What is listed: names in a stable order, with bounds, and nothing behind a link."""

import os
from pathlib import Path

import pytest

from tests.support.ground import files_at, open_descriptors, refused, without_privileges
from workspace.files import Entry, EntryType, Listing, WorkspaceFiles, WriteMode
from workspace.files import listing as listing_module
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolErrorCode as Code

FILE, DIRECTORY, LINK, OTHER = EntryType


def paths(listing: Listing) -> list[str]:
    return [entry.path for entry in listing.entries]


@pytest.fixture
def project(home: Path) -> Path:
    for name in ("src/b.py", "src/a.py", "src/deep/c.py", "README.md", ".git/config", "docs/d.md"):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return home


def test_a_directory_is_listed_by_name_with_types_and_sizes(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    (home / "file").write_bytes(b"12345")
    (home / "Folder").mkdir()
    (home / "link").symlink_to("/etc")
    os.mkfifo(home / "pipe")
    assert files.list(key, ".", recursive=False, pattern=None) == Listing(
        (
            Entry("Folder", DIRECTORY, None),
            Entry("file", FILE, 5),
            Entry("link", LINK, None),
            Entry("pipe", OTHER, None),
        ),
        truncated=False,
    )


def test_a_workspace_that_nobody_used_is_empty(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    assert files.list(key, ".", recursive=True, pattern=None) == Listing((), truncated=False)


def test_paths_begin_at_the_workspace_so_that_they_can_be_read(
    files: WorkspaceFiles, key: WorkspaceKey, project: Path
) -> None:
    listed = files.list(key, "src", recursive=True, pattern=None)
    assert paths(listed) == ["src/a.py", "src/b.py", "src/deep", "src/deep/c.py"]
    assert files.read(key, "src/deep/c.py", offset=0, length=99).data == b"src/deep/c.py"


def test_everything_below_is_listed_in_the_same_order_each_time(
    files: WorkspaceFiles, key: WorkspaceKey, project: Path
) -> None:
    expected = sorted(
        (path.relative_to(project).as_posix() for path in project.rglob("*")), key=lambda path: path.split("/")
    )
    assert paths(files.list(key, ".", recursive=True, pattern=None)) == expected


@pytest.mark.parametrize(
    ("path", "recursive", "pattern", "expected"),
    [
        (".", True, "*.py", ["src/a.py", "src/b.py", "src/deep/c.py"]),
        (".", False, "*.py", []),
        (".", False, "*.md", ["README.md"]),
        (".", True, "src/*.py", ["src/a.py", "src/b.py"]),
        ("src", True, "*.py", ["src/a.py", "src/b.py", "src/deep/c.py"]),
        ("src", True, "deep/*", ["src/deep/c.py"]),
        ("src", True, "src/*", []),
        (".", True, "**/d*", ["docs", "docs/d.md", "src/deep"]),
        (".", True, "nothing/**", []),
    ],
)
def test_a_pattern_is_compared_from_the_listed_directory_on(
    files: WorkspaceFiles,
    key: WorkspaceKey,
    project: Path,
    path: str,
    recursive: bool,
    pattern: str,
    expected: list[str],
) -> None:
    assert paths(files.list(key, path, recursive=recursive, pattern=pattern)) == expected


def test_a_directory_below_which_nothing_can_match_is_not_opened(
    files: WorkspaceFiles, key: WorkspaceKey, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    really_open = os.open
    monkeypatch.setattr(os, "open", lambda name, *rest, **more: opened.append(name) or really_open(name, *rest, **more))
    files.list(key, ".", recursive=True, pattern="src/*.py")
    assert "src" in opened
    assert not {"docs", ".git", "deep"} & set(opened)


def test_links_are_shown_and_not_followed(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    (home / "root").symlink_to("/")
    (home / "self").symlink_to(".")
    assert paths(files.list(key, ".", recursive=True, pattern=None)) == ["root", "self"]
    for path in ("root", "self", "root/etc"):
        with refused(Code.NOT_A_DIRECTORY):
            files.list(key, path, recursive=False, pattern=None)


def test_a_file_is_not_listed_and_nothing_is_not_found(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    files.write(key, "f", b"", WriteMode.CREATE)
    with refused(Code.NOT_A_DIRECTORY):
        files.list(key, "f", recursive=False, pattern=None)
    with refused(Code.NOT_FOUND):
        files.list(key, "g", recursive=False, pattern=None)


def test_no_more_is_listed_than_the_limit_and_it_is_told(
    files: WorkspaceFiles, key: WorkspaceKey, project: Path
) -> None:
    whole = files.list(key, ".", recursive=True, pattern=None)
    for limit in range(1, len(whole.entries)):
        assert files.list(key, ".", recursive=True, pattern=None, limit=limit) == Listing(whole.entries[:limit], True)
    assert files.list(key, ".", recursive=True, pattern=None, limit=len(whole.entries)) == whole


def test_no_more_names_are_looked_at_than_the_bound_whether_they_match_or_not(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_module, "MOST_SCANNED", 10)
    for number in range(10):
        (home / f"f{number}").touch()
    listed = files.list(key, ".", recursive=True, pattern=None)
    assert (len(listed.entries), listed.truncated) == (10, False)
    (home / "g").touch()
    listed = files.list(key, ".", recursive=True, pattern="x")
    assert (len(listed.entries), listed.truncated) == (0, True)


def test_what_is_too_deep_to_be_read_is_not_listed(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    deepest = home.joinpath(*["d"] * 31)
    deepest.mkdir(parents=True)
    (deepest / "file").touch()
    listed = files.list(key, ".", recursive=True, pattern=None)
    assert (len(listed.entries), listed.truncated) == (32, False)
    (deepest / "d").mkdir()
    (deepest / "d" / "file").touch()
    listed = files.list(key, ".", recursive=True, pattern=None)
    assert (len(listed.entries), listed.truncated) == (33, True)


def test_files_that_are_being_written_are_not_listed(files: WorkspaceFiles, key: WorkspaceKey, home: Path) -> None:
    (home / ".codelab-tmp-0123456789abcdef").touch()
    assert paths(files.list(key, ".", recursive=True, pattern=None)) == []


def test_names_that_are_no_text_are_shown_so_that_they_are(
    files: WorkspaceFiles, key: WorkspaceKey, home: Path
) -> None:
    for name in (b"\xff.py", b"a\nb", "x\u202ey".encode()):
        (home / os.fsdecode(name)).touch()
    shown = paths(files.list(key, ".", recursive=True, pattern=None))
    assert shown == ["a\\nb", "x\\u202ey", "\\xff.py"]
    for path in shown:
        with refused(Code.INVALID_PATH):
            files.read(key, path, offset=0, length=1)


def test_a_directory_that_a_command_closed_is_shown_without_what_is_in_it(ground: Path, key: WorkspaceKey) -> None:
    def attempt() -> None:
        files = files_at(ground, owner=None)
        files.write(key, "closed/file", b"x", WriteMode.CREATE)
        (files.path(key) / "closed").chmod(0)
        assert paths(files.list(key, ".", recursive=True, pattern=None)) == ["closed"]

    ground.chmod(0o777)
    without_privileges(attempt)


def test_it_can_be_stopped_in_the_middle_and_closes_what_it_opened(
    files: WorkspaceFiles, key: WorkspaceKey, project: Path
) -> None:
    class Stopped(BaseException):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Stopped

    before = open_descriptors()
    with pytest.raises(Stopped):
        files.list(key, ".", recursive=True, pattern=None, check=check)
    assert open_descriptors() == before
