"""However a command ends, nothing of it is left: no process, no descriptor, no thread."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from devstack.directory import ROOT
from tests.support.cage import EVERYTHING, IDENTITY, PYTHON, Cage, needs_root, processes_of_commands, sandbox_with
from tests.support.waiting import eventually
from workspace.errors import Cancelled
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.sandbox import Sandbox, WorkspaceDirectory, profile
from workspace.sandbox.launching import Launcher
from workspace.tools.context import Clock


def clock_of(stop: StopSignal, seconds: float = 600) -> Clock:
    """Return the clock of a task as the runner has it."""
    deadline = time.monotonic() + seconds
    watch = Watch(stop, deadline=deadline, on_wait=lambda: 1.0)
    return Clock(check=watch.check, seconds_left=lambda: deadline - time.monotonic())


@pytest.mark.parametrize("code", ["sleep 600", "yes | cat > /dev/null", "while :; do :; done", "yes"])
def test_a_cancel_ends_a_command_within_a_second(cage: Cage, code: str) -> None:
    stop = StopSignal()
    told = 0.0

    def cancel() -> None:
        nonlocal told
        eventually(processes_of_commands, "the command")
        told = time.monotonic()
        stop.stop(Cancelled())

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Interrupted):
        while True:  # what ends by itself runs again until it is cancelled
            cage.run("sh", "-c", code, clock=clock_of(stop), timeout=60)
    ended = time.monotonic()
    thread.join()

    assert ended - told < 1.0
    assert processes_of_commands() == []


def test_the_deadline_of_the_task_ends_a_command(cage: Cage) -> None:
    began = time.monotonic()

    with pytest.raises(Interrupted):
        while True:
            cage.run("sleep", "600", clock=clock_of(StopSignal(), seconds=1), timeout=60)

    assert time.monotonic() - began < 3
    assert processes_of_commands() == []


def test_a_command_that_is_ended_in_its_first_moments_leaves_nothing(cage: Cage) -> None:
    """Also while its sandbox is being made, when it does not yet end with bubblewrap by itself."""
    for step in range(60):
        result = cage.run("sleep", "600", timeout=step / 4_000)
        assert result.timed_out
        # What was killed before it was a sandbox has done nothing, and may take a moment to be gone.
        eventually(lambda: processes_of_commands() == [], "the end of all", within=2)


def test_a_hundred_commands_leave_no_descriptor_no_thread_and_no_child(cage: Cage) -> None:
    cage.run("true")
    before = (_descriptors(), threading.active_count(), _children())

    for number in range(100):
        assert cage.run("echo", str(number), timeout=0.002 if number % 5 == 0 else 20).duration_seconds < 20

    assert (_descriptors(), threading.active_count(), _children()) == before


def _descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def _children() -> list[str]:
    """Our own children, those that ended and were not waited for included."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


def test_commands_run_side_by_side(cage: Cage) -> None:
    found: list[str] = []

    def run(number: int) -> None:
        found.append(cage.shell(f"echo {number}; sleep 0.2").stdout)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == sorted(f"{number}\n" for number in range(12))


WORKER = """
    import os, sys
    sys.path.insert(0, {root!r})
    import tests.support.cage as cages
    from tests.support.cage import *
    from workspace.sandbox import Identity
    cages.IDENTITY = Identity(*{identity!r})
    with new_cage() as cage:
        cage.sandbox.probe()
        print(cage.base, flush=True)
        cage.shell("sleep 601.5 & setsid sleep 601.5 & wait", timeout=300)
"""


def test_a_worker_that_is_killed_takes_its_commands_with_it(cage: Cage) -> None:
    script = textwrap.dedent(WORKER.format(root=str(ROOT), identity=tuple(IDENTITY)))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as worker:
        try:
            assert worker.stdout is not None
            eventually(
                lambda: sum("sleep 601.5" in line for line in processes_of_commands()) >= 2, "the worker's command"
            )
        finally:
            worker.send_signal(signal.SIGKILL)
        base = [line for line in worker.stdout.read().splitlines() if "codelab-cage-" in line]
    subprocess.run(["rm", "-rf", "--", *base], check=True)

    eventually(lambda: processes_of_commands() == [], "the end of all", within=5)


def test_a_worker_that_is_killed_in_a_commands_first_moments_takes_it_with_it(cage: Cage) -> None:
    """Or else the next worker does, when it tries its sandbox."""
    for step in range(40):
        child = os.fork()
        if child == 0:
            try:
                cage.run("sleep", "600", timeout=300)
            finally:
                os._exit(1)
        time.sleep(step / 2_000)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    # What is left behind may become so only now: each probe looks again.
    eventually(lambda: cage.sandbox.probe() and processes_of_commands() == [], "the end of all", within=5)


def test_a_worker_that_is_killed_before_the_kernel_was_asked_to_tell_of_it_leaves_nothing(cage: Cage) -> None:
    def of_another(line: list[str]) -> list[str]:
        return [str(os.getppid()) if word == str(os.getpid()) else word for word in line]

    with cage.files.opened(cage.key):
        directory = os.open(cage.files.path(cage.key), os.O_PATH)
    try:
        with Launcher(IDENTITY, cage.limits).launched(directory, ["sleep", "600"]):
            eventually(processes_of_commands, "the command")
        late = Launcher(IDENTITY, cage.limits, lambda *args, **kw: of_another(profile.arguments(*args, **kw)))
        with late.launched(directory, ["sleep", "600"]) as running:
            running.process.wait(timeout=10)
            assert processes_of_commands() == []
    finally:
        os.close(directory)


HIDING = """
import os, time
facts = open("/proc/1/stat").read().rpartition(") ")[2].split()
begin, end = int(facts[45]), int(facts[46])
memory = os.open("/proc/1/mem", os.O_RDWR)
assert os.pwrite(memory, b"x" * (end - begin), begin) == end - begin
time.sleep(602.5)
"""
"""Writes over the command line of the sandbox's first process."""


@pytest.mark.parametrize("command", [["sleep", "602.5"], pytest.param([PYTHON, "-c", HIDING], marks=needs_root)])
def test_a_sandbox_that_outlived_its_worker_is_ended_by_the_next_one(cage: Cage, command: list[str]) -> None:
    lasting = sandbox_with(_without_an_end)
    child = os.fork()
    if child == 0:
        try:
            lasting.run(WorkspaceDirectory(cage.files, cage.key), command[0], command[1:], 300, clock_of(StopSignal()))
        finally:
            os._exit(1)
    eventually(lambda: _matching("602.5"), "the command")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    now = 0.0
    next_worker = Sandbox(IDENTITY, cage.limits, policy=EVERYTHING, clock=lambda: now)
    assert next_worker.probe()
    assert _matching("602.5"), "bubblewrap still waits for it, as for a command of another worker"

    for pid in map(_pid_of, processes_of_commands()):
        if _is_outside(pid):
            os.kill(pid, signal.SIGKILL)  # bubblewrap itself
    assert _matching("602.5")
    place = WorkspaceDirectory(cage.files, cage.key)
    next_worker.run(place, "true", [], 10, clock_of(StopSignal()))
    assert _matching("602.5"), "it has looked just before"
    now += 61
    next_worker.run(place, "true", [], 10, clock_of(StopSignal()))

    eventually(lambda: processes_of_commands() == [], "the end of all", within=5)


def _without_an_end(line: list[str]) -> list[str]:
    return [word for word in line if word not in {"--die-with-parent", "--pdeathsig=KILL"}]


def _pid_of(line: str) -> int:
    return int(line.partition(":")[0])


def _is_outside(pid: int) -> bool:
    """Whether a process is in no sandbox: it has an id here only."""
    status = Path(f"/proc/{pid}/status").read_text()
    (ids,) = (line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return len(ids) == 1


def _matching(word: str) -> list[str]:
    return [line for line in processes_of_commands() if word in line]


def test_a_thread_that_ends_does_not_take_the_command_of_another_with_it(cage: Cage) -> None:
    """bubblewrap follows the thread that started it: that one is the command's own, whoever calls."""
    threads = []
    for _ in range(5):
        thread = threading.Thread(target=cage.run, args=("true",))
        thread.start()
        threads.append(thread)
    assert cage.run("sleep", "0.5").exit_code == 0
    for thread in threads:
        thread.join()
