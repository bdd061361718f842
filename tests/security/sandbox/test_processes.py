"""Processes: none outlives its command, none reaches another one's."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.cage import PYTHON, Cage, processes_of_commands, said, uncaged, uncaged_python
from tests.support.waiting import eventually
from workspace.sandbox import CommandResult

DAEMON = """
    import os, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (0, 1, 2):
                os.close(number)
            time.sleep(1.5)
            open(sys.argv[1], "w").close()
        os._exit(0)
    os.wait()
    print("started", flush=True)
"""
"""Twice forked, in a session of its own, with nothing of its parent's open: what `nohup` and `setsid` amount to."""


def test_a_daemon_ends_with_the_command_that_started_it(cage: Cage, outside: Path) -> None:
    assert uncaged_python(DAEMON, str(outside / "control")) == "started\n"
    eventually((outside / "control").exists, "the control's file")

    assert cage.python(DAEMON, "later").stdout == "started\n"

    # At once: nobody has to wait for it.
    assert processes_of_commands() == []
    eventually_never(cage.workspace / "later", 2.0)


def eventually_never(path: Path, seconds: float) -> None:
    """Look for so long whether a file comes to be that must not: a negative has no event to wait for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert not path.exists()
        time.sleep(0.05)


def test_nothing_is_written_once_the_call_is_over(cage: Cage) -> None:
    """Not even in the milliseconds in which the kernel ends what was left."""
    writer = "while :; do echo x >> ticks; done & while :; do echo x >> ticks; done & exit 0"
    for _ in range(10):
        assert cage.shell(writer).exit_code == 0
        size = (cage.workspace / "ticks").stat().st_size if (cage.workspace / "ticks").exists() else 0
        processes = processes_of_commands()
        later = (cage.workspace / "ticks").stat().st_size if (cage.workspace / "ticks").exists() else 0
        assert (processes, later) == ([], size)


def test_what_a_command_leaves_in_the_background_does_not_keep_the_call_waiting(cage: Cage) -> None:
    began = time.monotonic()

    result = cage.shell("sleep 60 & echo done", timeout=30)

    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert time.monotonic() - began < 10


def test_no_process_outside_can_be_signalled(cage: Cage) -> None:
    victim = _victim()
    try:
        result = cage.shell(f"kill -9 {victim.pid}; kill -9 -1; kill -9 {os.getpid()} {os.getppid()}; kill -9 1; :")
        assert victim.poll() is None, said(result)
        assert "No such process" in result.stderr

        uncaged(["kill", "-9", str(victim.pid)])
        assert victim.wait(10) == -signal.SIGKILL
    finally:
        victim.kill()
        victim.wait()


def test_no_process_outside_can_be_traced(cage: Cage) -> None:
    trace = """
        import ctypes, os, sys
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.ptrace(16, int(sys.argv[1]), 0, 0), ctypes.get_errno())
    """
    victim = _victim()
    try:
        assert uncaged_python(trace, str(victim.pid)) == "0 0\n"

        assert cage.python(trace, str(victim.pid)).stdout == "-1 1\n"
        assert cage.python(trace, "1").stdout == "-1 1\n"
    finally:
        victim.kill()
        victim.wait()


def _victim() -> "subprocess.Popen[bytes]":
    """A process of the account that commands run under, outside."""
    from tests.support.cage import IDENTITY

    account = {} if IDENTITY.is_worker else {"user": IDENTITY.uid, "group": IDENTITY.gid, "extra_groups": []}
    return subprocess.Popen([PYTHON, "-c", "import time; time.sleep(60)"], cwd="/", **account)


def test_two_commands_of_two_tenants_do_not_see_each_other(cage: Cage) -> None:
    neighbour = cage.neighbour()
    with Background(cage, "echo hidden > /tmp/hidden; echo hidden > /dev/shm/hidden; exec sleep 5.25"):
        eventually(lambda: any("sleep 5.25" in line for line in processes_of_commands()), "the first command")

        result = neighbour.shell("ls /tmp /dev/shm; cat /proc/*/cmdline; pkill -9 sleep; ipcs -a")

        assert "hidden" not in result.stdout
        assert "5.25" not in result.stdout.replace("\0", " ")
        assert any("sleep 5.25" in line for line in processes_of_commands())


class Background:
    """A command that runs on a thread of its own meanwhile."""

    def __init__(self, cage: Cage, code: str) -> None:
        import threading

        self.results: list[CommandResult] = []
        self._thread = threading.Thread(target=lambda: self.results.append(cage.shell(code)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def test_no_shared_memory_of_the_host_is_seen(cage: Cage) -> None:
    """System V's has names that everybody sees, and is in no directory."""
    make = "import ctypes; print(ctypes.CDLL(None).shmget(0x5EC0DE, 4096, 0o1666))"
    segment = uncaged_python(make).strip()
    try:
        assert segment in uncaged(["cat", "/proc/sysvipc/shm"])

        assert cage.shell("tail -n +2 /proc/sysvipc/shm /proc/sysvipc/msg /proc/sysvipc/sem").stdout.count("\n") <= 5
        assert segment not in cage.run("cat", "/proc/sysvipc/shm").stdout.split()
    finally:
        subprocess.run(["ipcrm", "-m", segment], check=True)


def test_a_fork_bomb_is_held_by_the_number_of_processes(cage: Cage) -> None:
    """It fills its own limit; the host goes on, and another tenant's command runs beside it as always."""
    bomb = """
        import os, time
        while True:
            try:
                if os.fork() == 0:
                    continue
            except BlockingIOError:
                time.sleep(0.01)
    """
    most = 0
    with Background(cage, f"timeout 3 {PYTHON} -c '{_flat(bomb)}'") as run:
        eventually(lambda: len(processes_of_commands()) > 60, "the bomb")
        for _ in range(5):
            most = max(most, len(processes_of_commands()))
            began = time.monotonic()
            assert cage.neighbour().run("echo", "here").stdout == "here\n"
            assert time.monotonic() - began < 5

    assert most <= cage.limits.processes + 8  # its own bubblewrap, and the neighbour's few
    assert [result.exit_code for result in run.results] == [124], "it was ended by its own clock, not for its memory"
    assert processes_of_commands() == []


def _flat(code: str) -> str:
    import textwrap

    return textwrap.dedent(code).strip()


def test_threads_count_as_processes(cage: Cage) -> None:
    code = """
        import threading, time
        count = 0
        try:
            while count < 1000:
                threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
                count += 1
        except RuntimeError:
            pass
        print(count, flush=True)
        import os
        os._exit(0)
    """
    made = cage.with_limits(memory=2 << 30)
    assert 50 < int(made.python(code).stdout) < cage.limits.processes


def test_the_limit_of_one_tenant_is_not_used_up_by_another(cage: Cage) -> None:
    """It counts inside of the user namespace: outside it would be one for all commands of the host."""
    sleepers = "for i in $(seq 100); do sleep 5 & done; wait"
    with Background(cage, sleepers):
        eventually(lambda: len(processes_of_commands()) > 95, "the first tenant's processes")

        result = cage.neighbour().shell("for i in $(seq 100); do sleep 1 & done; wait; echo all")

        assert (result.stdout, result.stderr) == ("all\n", "")


def test_commands_step_back_behind_the_worker(cage: Cage) -> None:
    assert cage.run("cat", "/proc/self/oom_score_adj").stdout == "1000\n"
    assert cage.shell("cut -d' ' -f19 /proc/self/stat").stdout == f"{os.nice(0) + 10}\n"
    assert cage.run("nice", "-n", "-20", "true").stderr != ""
