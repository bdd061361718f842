"""When the launcher ends, and how the guard ties a program to its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.control import Control
from devstack.errors import StopRequested
from devstack.programs import GUARD

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GUARDED = [sys.executable, "-I", "-S", str(GUARD)]


@pytest.fixture
def control() -> Iterator[Control]:
    before = {number: signal.getsignal(number) for number in HANDLED}
    control = Control()
    control.install()
    yield control
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HANDLED)
def test_the_first_signal_asks_for_the_end(control: Control, number: signal.Signals) -> None:
    with pytest.raises(StopRequested) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number


def test_a_second_signal_does_not_break_into_the_end_but_hastens_it(control: Control) -> None:
    with pytest.raises(StopRequested):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    hastened: list[bool] = []
    control.begin_end(lambda: hastened.append(True))
    os.kill(os.getpid(), signal.SIGTERM)
    assert hastened == [True]


def test_the_end_of_the_parent_asks_for_the_end(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    control.check()
    monkeypatch.setattr(os, "getppid", lambda: 1 if os.getpid() != 1 else 2)
    with pytest.raises(StopRequested):
        control.check()


def test_a_detached_launcher_outlives_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control(detached=True)
    monkeypatch.setattr(os, "getppid", lambda: -1)
    control.check()


def test_a_guarded_program_writes_into_its_log(tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    subprocess.run([*GUARDED, "--log", str(log), "--", "/bin/sh", "-c", "echo out; echo err >&2"], check=True)
    assert log.read_text() == "out\nerr\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_guarded_program_gets_no_secrets_if_it_is_to_have_none(tmp_path: Path) -> None:
    command = [*GUARDED, "--clean-environment", "--", "/bin/sh", "-c", 'echo "${JWT_SECRET:-none}"']
    shown = subprocess.run(command, env={**os.environ, "JWT_SECRET": "x"}, capture_output=True, text=True, check=True)
    assert shown.stdout == "none\n"


def test_a_program_that_is_not_there_is_named() -> None:
    ended = subprocess.run([*GUARDED, "--", "/no/such/program"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "cannot run /no/such/program" in ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does this; elsewhere the launcher does")
def test_a_guarded_program_ends_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = [*GUARDED, "--", "/bin/sh", "-c", f'echo $$ > "{pid_file}"; exec sleep 60']
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run({child!r})"])
    while not (pid_file.exists() and pid_file.read_text().strip()):
        time.sleep(0.02)
    pid = int(pid_file.read_text())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while _runs(pid):
        assert time.monotonic() < deadline, "the guarded program outlived its parent"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether the process still executes; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
