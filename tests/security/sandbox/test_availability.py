"""Without a sandbox that stands, no command runs; everything else goes on."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.directory import ROOT
from settings import Settings
from tests.support.cage import (
    EVERYTHING,
    IDENTITY,
    LIMITS,
    Cage,
    needs_bubblewrap,
    new_cage,
    sandbox_with,
    steady_clock,
)
from workspace.sandbox import Identity, Sandbox, WorkspaceDirectory
from workspace.sandbox.profile import Descriptors
from workspace.tools.context import Clock
from workspace.tools.errors import ToolError, ToolErrorCode


def refusal(cage: Cage, sandbox: Sandbox) -> str:
    with pytest.raises(ToolError) as caught:
        sandbox.run(WorkspaceDirectory(cage.files, cage.key), "true", [], 10, steady_clock())
    assert caught.value.code is ToolErrorCode.SANDBOX_UNAVAILABLE
    assert cage.base.name not in caught.value.detail
    return caught.value.detail


def test_without_bubblewrap_no_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with new_cage() as cage, monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert not cage.sandbox.available
        assert "bubblewrap is not installed" in (cage.sandbox.reason or "")
        assert "bubblewrap is not installed" in refusal(cage, cage.sandbox)
        assert cage.files.usage(cage.key).bytes == 0


def test_without_bubblewrap_the_tools_are_there_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    from workspace.tools.commands import execute_command

    assert execute_command.name == "execute_command"
    assert execute_command.definition["function"]["parameters"]["required"] == ["command"]


@needs_bubblewrap
def test_bubblewrap_that_is_installed_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    path = os.environ["PATH"]
    with new_cage() as cage:
        sandbox = Sandbox(IDENTITY, LIMITS, policy=EVERYTHING, clock=lambda: now)
        monkeypatch.setenv("PATH", "/nowhere")
        assert not sandbox.available
        monkeypatch.setenv("PATH", path)

        now += 59
        assert "bubblewrap is not installed" in refusal(cage, sandbox)  # it is not tried again at each call
        now += 1
        assert sandbox.available
        assert cage.run("true").exit_code == 0


def without(*words: str) -> Callable[[list[str]], list[str]]:
    """Leave a row of words out of a command line."""

    def change(line: list[str]) -> list[str]:
        for at in range(len(line)):
            if tuple(line[at : at + len(words)]) == words:
                return line[:at] + line[at + len(words) :]
        raise AssertionError(words)

    return change


def replace(word: str, *others: str) -> Callable[[list[str]], list[str]]:
    """Put other words in the place of one."""

    def change(line: list[str]) -> list[str]:
        at = line.index(word)
        return [*line[:at], *others, *line[at + 1 :]]

    return change


def with_(*words: str) -> Callable[[list[str]], list[str]]:
    """Add options of bubblewrap at the end of its own."""

    def change(line: list[str]) -> list[str]:
        at = len(line) - line[::-1].index("--remount-ro") - 1
        return line[:at] + list(words) + line[at:]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace("--unshare-all", "--unshare-ipc", "--unshare-net", "--unshare-uts"), "other processes"),
        (with_("--share-net"), "network"),
        (without("--remount-ro", "/"), "its root"),
        (without("--remount-ro", "/dev"), "its devices"),
        (with_("--ro-bind", "/tmp", "/tmp"), "other files"),
        (with_("--bind", "/tmp", "/tmp"), "other files"),
        (with_("--uid", "1001"), "user id"),
        (without("/usr/bin/prlimit", "--nproc=128:128", "--"), "not limited"),
        (with_("--no-such-option"), "Unknown option"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sandbox_with_a_hole_runs_nothing(cage: Cage, change: Callable[[list[str]], list[str]], reason: str) -> None:
    sandbox = sandbox_with(change)

    assert not sandbox.available
    assert reason in (sandbox.reason or "")
    assert reason in refusal(cage, sandbox)


def without_filter(line: list[str]) -> list[str]:
    at = line.index("--seccomp")
    return line[:at] + line[at + 2 :]


def test_a_sandbox_without_its_filter_runs_nothing(cage: Cage) -> None:
    assert "seccomp" in refusal(cage, sandbox_with(without_filter))


@pytest.mark.skipif(os.geteuid() != 0, reason="the worker is root only where the tests are")
def test_commands_never_run_as_root(cage: Cage) -> None:
    def keep_root(line: list[str]) -> list[str]:
        return [word for word in line if not word.startswith(("--reuid", "--regid"))]

    refusal(cage, sandbox_with(keep_root))
    assert "as root" in refusal(cage, Sandbox(Identity(0, 0, is_worker=True), LIMITS, policy=EVERYTHING))


def test_workspaces_below_the_systems_programs_are_refused(cage: Cage) -> None:
    """Every command can read those."""

    class BelowUsr:
        def opened(self) -> object:
            return _Opened()

        def usage(self, check: object) -> object:
            return cage.files.usage(cage.key)

        def changed(self) -> None:
            """Nothing to note."""

    class _Opened:
        def __enter__(self) -> int:
            self._fd = os.open("/usr/share", os.O_PATH)
            return self._fd

        def __exit__(self, *_: object) -> None:
            os.close(self._fd)

    with pytest.raises(ToolError, match="below /usr") as caught:
        cage.sandbox.run(BelowUsr(), "true", [], 10, steady_clock())  # type: ignore[arg-type]
    assert caught.value.code is ToolErrorCode.SANDBOX_UNAVAILABLE


def test_a_command_line_that_no_kernel_takes_is_refused_by_name(cage: Cage) -> None:
    for command, args in (("", []), ("a\0b", []), ("ls", ["\0"]), ("ls", ["\ud800"]), ("ls", ["x" * 200_000])):
        with pytest.raises(ToolError) as caught:
            cage.run(command, *args)
        assert caught.value.code is ToolErrorCode.INVALID_ARGUMENTS
    assert cage.run("true").exit_code == 0


def test_a_word_that_looks_like_an_option_is_none(cage: Cage) -> None:
    """Neither to bubblewrap nor to prlimit, which come before it on the command line."""
    for word in ("--bind", "--help", "--version", "--share-net", "--nproc=1000"):
        result = cage.run(word, "/", "/")
        assert result.exit_code == 127
        assert f"failed to execute {word}" in result.stderr


def test_no_setting_switches_the_sandbox_off() -> None:
    names = {name for name in Settings.model_fields if "sandbox" in name}

    assert names == {"sandbox_uid", "sandbox_gid"}
    with pytest.raises(ValueError, match="sandbox_uid"):
        Settings(
            database_url="postgresql://x/y",
            redis_url="redis://x",
            jwt_secret="x" * 32,
            sandbox_uid=0,  # type: ignore[arg-type]
        )


def test_nobody_reaches_behind_the_sandbox() -> None:
    """Its parts are its own: other packages know what `workspace.sandbox` offers."""
    importing = set()
    for path in ROOT.glob("*/**/*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(("workspace/sandbox/", "tests/", ".venv/")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workspace.sandbox."):
                importing.add(name)
    assert importing == set()


def test_a_stopped_task_starts_nothing(cage: Cage) -> None:
    class Stopped(BaseException):
        pass

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        cage.run("touch", "file", clock=Clock(check=stop, seconds_left=lambda: 10))

    assert list(Path(cage.workspace).iterdir()) == []


def test_descriptors_have_names() -> None:
    assert Descriptors(seccomp=3, status=4) == (3, 4)
