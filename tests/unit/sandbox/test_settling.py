"""The shell's last task before a command: it waits until the first process has closed what it had of the host."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workspace.sandbox import profile

SHELLS = [shell for shell in ("/bin/sh", "/bin/bash") if shutil.which(shell)]

pytestmark = pytest.mark.parametrize("shell", SHELLS)


@contextmanager
def first_process(code: str) -> Iterator[int]:
    """Run code in the place of a sandbox's first process; it says when it is ready."""
    program = f"import os, time\n{code}\nprint(flush=True)\nos.read(0, 1)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


def settle(shell: str, pid: int, tries: int) -> "subprocess.CompletedProcess[str]":
    script = profile.WHEN_SETTLED.replace("/proc/1/", f"/proc/{pid}/").replace("2000", str(tries))
    return subprocess.run(
        [shell, "-c", script, "sh", "echo", "begun", "a  b"], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("code", ["", "os.eventfd(0)", "os.open('/dev/null', os.O_RDONLY)"])
def test_a_command_begins_when_nothing_of_the_host_is_open(shell: str, code: str) -> None:
    with first_process(code) as pid:
        done = settle(shell, pid, tries=1)

    assert (done.returncode, done.stdout) == (0, "begun a  b\n")


@pytest.mark.parametrize("code", ["os.open('/proc', os.O_PATH)", "os.open('/', os.O_RDONLY)", "os.pipe()"])
def test_no_command_begins_while_something_of_the_host_is_open(shell: str, code: str) -> None:
    with first_process(code) as pid:
        done = settle(shell, pid, tries=20)

    assert (done.returncode, done.stdout) == (125, "")
    assert "files of the host" in done.stderr


def test_a_command_begins_as_soon_as_all_is_closed(shell: str) -> None:
    program = (
        "import os, time; os.open('/', os.O_PATH); print(flush=True); time.sleep(0.3); os.close(3); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        done = settle(shell, process.pid, tries=2000)
        took = time.monotonic() - began
        process.kill()

    assert (done.returncode, done.stdout) == (0, "begun a  b\n")
    assert took > 0.2


def test_no_command_begins_where_the_first_process_does_not_let_itself_be_looked_into(shell: str) -> None:
    with first_process("") as pid:
        gone = pid
    assert not Path(f"/proc/{gone}").exists()

    assert settle(shell, gone, tries=20).returncode == 125
