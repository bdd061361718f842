"""What the worker knows must not be found in a command: variables, arguments, memory."""

import os
import platform
from pathlib import Path

import pytest

from tests.support.cage import Cage, said, uncaged, uncaged_python

SECRET = "sk-secret-of-the-worker"

SEARCH = """
    import os, sys
    from pathlib import Path
    print(dict(os.environ))
    for process in Path("/proc").iterdir():
        for name in ("environ", "cmdline", "stat", "comm", "maps", "mountinfo", "cgroup", "stack", "auxv"):
            try:
                print((process / name).read_bytes())
            except OSError:
                pass
"""


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def test_no_variable_of_the_worker_can_be_read(cage: Cage) -> None:
    """In no process: bubblewrap's own first process is inside, with the environment that it was started with."""
    assert SECRET in uncaged(["env"])
    assert SECRET in uncaged_python(SEARCH)

    result = cage.python(SEARCH)

    assert result.exit_code == 0
    assert SECRET not in said(result)
    assert "OPENAI" not in said(result)
    for name in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "VIRTUAL_ENV", "PYTHONPATH"):
        assert name not in said(result)


def test_the_environment_is_four_words(cage: Cage) -> None:
    assert sorted(cage.run("env").stdout.splitlines()) == [
        *("HOME=/workspace", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "PWD=/workspace"),
    ]


def test_a_command_sees_no_process_but_its_own(cage: Cage) -> None:
    pids = cage.shell("echo /proc/[0-9]*").stdout.split()

    assert 2 <= len(pids) <= 4
    assert cage.run("cat", "/proc/1/comm").stdout == "bwrap\n"
    assert str(os.getpid()) not in [pid.removeprefix("/proc/") for pid in pids]


def test_the_first_process_tells_nothing_of_the_host(cage: Cage) -> None:
    line = cage.run("cat", "/proc/1/cmdline", "/proc/1/environ").stdout

    assert "bwrap" in line
    assert cage.base.name not in line.replace(str(cage.workspace), "")  # which a mount shows as well
    assert "OPENAI" not in line
    assert str(Path.home()) not in line


def test_the_name_of_the_host_is_not_told(cage: Cage) -> None:
    assert cage.run("uname", "-n").stdout == "codelab-sandbox\n"
    assert platform.node() != "codelab-sandbox"
