"""A real stack without this project's own programs: it starts, and nothing is left, however it ends.

It runs the launcher as a process, in a directory of the test's own.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from devstack.directory import ROOT, StackDirectory, holder

LAUNCH = """
import sys
from pathlib import Path
from devstack import directory
directory.HOME = Path(sys.argv[1])
from devstack.cli import main
sys.exit(main(sys.argv[2:]))
"""

SECONDS = 30.0


class Launcher:
    """A launcher process whose stacks live below `home`."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(home), *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                # Ctrl-C of the test run is not meant for it, and it is not for this run's make.
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.endswith("_URL")},
            )

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def family(self) -> list[psutil.Process]:
        """Everything that runs below the launcher now."""
        family: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return family


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def ended(family: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def launcher(home: Path) -> Iterator[Launcher]:
    """A stack that `up` holds, ready."""
    launcher = Launcher(home, "up", "--bare")
    try:
        until((home / "env").exists, f"the stack did not start: {launcher.printed}")
        yield launcher
    finally:
        if launcher.process.poll() is None:
            launcher.process.terminate()
        launcher.process.wait(SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_launcher_ends(launcher: Launcher, number: signal.Signals) -> None:
    family = launcher.family()
    assert len(family) > 4
    launcher.process.send_signal(number)
    code = launcher.process.wait(SECONDS)
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0)
    until(lambda: ended(family), "processes are left")
    directory = StackDirectory(launcher.home)
    until(lambda: holder(directory) is None, "the lock is left")
    assert not directory.env_file.exists()
    assert not directory.state_file.exists()


def test_nothing_is_left_when_the_supervisor_is_killed(launcher: Launcher) -> None:
    family = launcher.family()
    os.kill(int((launcher.home / "supervisord.pid").read_text()), signal.SIGKILL)
    assert launcher.process.wait(SECONDS) == 1
    assert "the process manager has died" in launcher.printed
    until(lambda: ended(family), "processes are left")


def test_a_killed_program_comes_back_and_data_stays_for_the_next_stack(launcher: Launcher) -> None:
    (redis,) = (each for each in launcher.family() if "redis-server" in each.name())
    redis.kill()
    until(lambda: f"redis has ended (pid {redis.pid}) and was started again" in launcher.printed, "it stays away")
    second = Launcher(launcher.home, "up", "--bare")
    assert second.process.wait(SECONDS) == 1
    assert f"(pid {launcher.process.pid}); end it with `make down`" in second.printed
    assert Launcher(launcher.home, "status").process.wait(SECONDS) == 0
    assert Launcher(launcher.home, "down").process.wait(SECONDS) == 0
    assert launcher.process.wait(SECONDS) == 0
    if (launcher.home / "postgres").exists():
        assert launcher.printed.count("database ..... created") == 1


def test_a_test_run_has_a_stack_of_its_own_and_its_exit_code_is_pytests(home: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_inner.py"
    test.write_text(
        "import os, pathlib, redis\n"
        "def test_inner():\n"
        "    assert redis.Redis.from_url(os.environ['REDIS_URL']).ping()\n"
        "    assert pathlib.Path(os.environ['CODELAB_STACK_DIR'], 'env').exists()\n"
        "    assert os.environ['CODELAB_INNER'] == 'pass'\n"
    )
    os.environ["CODELAB_INNER"] = "pass"
    arguments = ("test", "--bare", "--", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(test))
    passing = Launcher(home, *arguments)
    os.environ["CODELAB_INNER"] = "fail"
    failing = Launcher(home, *arguments)
    del os.environ["CODELAB_INNER"]
    assert passing.process.wait(SECONDS) == 0, passing.printed
    assert failing.process.wait(SECONDS) == 1
    (kept,) = home.iterdir()
    assert [each.name for each in kept.iterdir()] == ["logs"]
    assert str(kept / "logs") in failing.printed
