"""Whatever a path says, the walk opens nothing outside of the workspace, and nothing outside changes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.ground import code_of, files_at, give_to_sandbox, new_ground, new_key, tree
from workspace.files import WorkspaceFiles, WriteMode
from workspace.names import WorkspaceKey
from workspace.tools.errors import ToolError

SECRET = b"of another tenant"


class Ground:
    """A workspace full of ways out, another tenant's beside it, and every descriptor that is opened on the disk."""

    def __init__(self, ground: Path, files: WorkspaceFiles) -> None:
        self.outside = ground / "outside"
        self.files = files
        self.mine = new_key()
        self.theirs = WorkspaceKey(self.mine.user_id, new_key().project_id)
        files.write(self.theirs, "secret", SECRET, WriteMode.CREATE)
        files.write(self.mine, "dir/file", b"mine", WriteMode.CREATE)
        self.home = files.path(self.mine)
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(SECRET)
        links = {
            "out": self.outside,
            "up": "..",
            "upper": "../..",
            "root": "/",
            "peer": files.path(self.theirs),
            "peer-file": files.path(self.theirs) / "secret",
            "proc": "/proc/self/root",
            "dir/back": "../..",
            "loop": "loop",
        }
        for name, target in links.items():
            (self.home / name).symlink_to(target)
            give_to_sandbox(self.home / name)
        self.untouched = {path: tree(path) for path in (self.outside, files.path(self.theirs))}
        self.opened: list[str] = []

    def allowed(self, path: str) -> bool:
        own = {str(self.home.parent), str(self.home.parent.parent)}
        return path in own or f"{path}/".startswith(f"{self.home}/")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with new_ground() as path:
        made = Ground(path, files_at(path))
        really_open = os.open

        def watched(*args: object, **more: object) -> int:
            fd: int = really_open(*args, **more)  # type: ignore[arg-type]
            made.opened.append(str(Path(f"/proc/self/fd/{fd}").readlink()).removesuffix(" (deleted)"))
            return fd

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", watched)
            yield made


def _names(ground_names: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(ground_names), st.text(max_size=8))


_HOSTILE = (
    *("dir", "file", "out", "up", "upper", "root", "peer", "peer-file", "proc", "back", "loop", "secret", "new", "etc"),
    *(
        "",
        ".",
        "..",
        "...",
        ". .",
        ".. ",
        "~",
        "\\",
        "..\\",
        "%2e%2e",
        "%2e%2e%2f",
        "..%2f",
        "..%00",
        "..;",
        "\0",
        "a\0",
    ),
    *("\uff0e\uff0e", "\u2025", "\u2024\u2024", ".\uff0e", "\uff0f", "..\uff0f..", "\u2215", "\u202e..", "..\u200b"),
    *("\udcff", "C:", "file:", "//", "/etc/passwd", "x" * 300),
)
_paths = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(["", "/", "./", "../", "//"]),
    st.lists(_names(_HOSTILE), max_size=8),
    st.sampled_from(["", "", "/", "/.", "/..", "\n"]),
)


@hypothesis_settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=_paths, content=st.binary(max_size=8))
def test_no_path_leads_out_of_the_workspace(ground: Ground, path: str, content: bytes) -> None:
    ground.opened.clear()
    for mode in WriteMode:
        code_of(lambda mode=mode: ground.files.write(ground.mine, path, content, mode))
    try:
        answer = ground.files.read(ground.mine, path, offset=0, length=100)
    except ToolError as error:
        refusal = error.detail
    else:
        refusal = ""
        assert answer.data != SECRET
    code_of(lambda: ground.files.list(ground.mine, path, recursive=True, pattern="**"))
    assert str(ground.outside.parent) not in refusal
    assert [each for each in ground.opened if not ground.allowed(each)] == []
    assert {place: tree(place) for place in ground.untouched} == ground.untouched
