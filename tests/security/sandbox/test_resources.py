"""Memory, disk, output and time: whatever a command takes too much of, it is ended, and it says so."""

import signal
import subprocess
import time

import pytest

from tests.support.cage import Cage, processes_of_commands, said
from workspace.tools.errors import ToolError, ToolErrorCode

MEGABYTE = 1 << 20


def refused(cage: Cage, *command: str, timeout: float = 30) -> str:
    """Run a command that is ended because of what it takes; returns why."""
    with pytest.raises(ToolError) as caught:
        cage.run(*command, timeout=timeout)
    assert caught.value.code is ToolErrorCode.QUOTA_EXCEEDED, caught.value.detail
    assert processes_of_commands() == []
    assert cage.base.name not in caught.value.detail
    return caught.value.detail


# -- memory -----------------------------------------------------------------------------------------------------------


def test_one_process_cannot_take_more_memory_than_all_may(cage: Cage) -> None:
    """512 MB for all, four times as much for one to reserve: the kernel refuses 3 GB at once, and 700 MB are seen."""
    result = cage.python("bytearray(3 << 30)")
    assert "MemoryError" in result.stderr

    detail = refused(cage, "python3", "-c", "import time; x = bytes(bytearray(700 << 20)); time.sleep(30)")

    assert "memory" in detail


def test_many_processes_together_cannot_either(cage: Cage) -> None:
    code = """
import os, time
for _ in range(4):
    os.fork()
memory = bytearray(50 << 20)
for at in range(0, len(memory), 4096):
    memory[at] = 1
time.sleep(30)
"""
    assert "memory" in refused(cage, "python3", "-c", code)


def test_memory_that_processes_share_counts_once(cage: Cage) -> None:
    result = cage.python(
        """
        import os, time
        memory = bytearray(100 << 20)
        for at in range(0, len(memory), 4096):
            memory[at] = 1
        for _ in range(10):
            if os.fork() == 0:
                time.sleep(1)
                os._exit(0)
        time.sleep(1)
        print("all well")
        """
    )
    assert result.stdout == "all well\n", said(result)


def test_memory_that_belongs_to_no_process_cannot_be_had(cage: Cage) -> None:
    result = cage.python(
        """
        import ctypes, os
        try:
            os.memfd_create("x")
            print("memfd")
        except OSError as error:
            assert error.errno == 38
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.shmget(0, 1 << 20, 0o1600), libc.msgget(0, 0o1600), libc.semget(0, 100, 0o1600))
        """
    )
    assert result.stdout == "-1 -1 -1\n"


# -- disk -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("directory", "megabytes"), [("/tmp", 64), ("/dev/shm", 8)])
def test_temporary_files_have_a_bounded_size(cage: Cage, directory: str, megabytes: int) -> None:
    made = cage.with_limits(workspace_bytes=1 << 30)  # which bounds each file, too

    result = made.shell(f"head -c {2 * megabytes}M /dev/zero > {directory}/file; stat -c %s {directory}/file")

    assert "No space left" in result.stderr
    assert int(result.stdout) == megabytes * MEGABYTE


def test_temporary_files_are_of_a_bounded_number(cage: Cage) -> None:
    """Each is a kilobyte of the kernel's memory, which no process has."""
    made = cage.with_limits(temporary_files=2_000)
    code = "import time\nfor i in range(20_000): open(f'/tmp/{i}', 'w').close()\ntime.sleep(30)"

    assert "temporary files" in refused(made, "python3", "-c", code)


@pytest.mark.parametrize("place", ["/", "/dev", "/usr", "/etc", "/proc", "/dev/pts", "/proc/sys", "/var"])
def test_there_is_no_other_place_to_fill(cage: Cage, place: str) -> None:
    result = cage.shell('head -c 1M /dev/zero > "$1/file"', place)

    assert result.exit_code != 0


def test_a_file_cannot_be_larger_than_a_workspace(cage: Cage) -> None:
    result = cage.python(
        """
        with open("file", "wb") as file:
            try:
                file.truncate(1 << 40)
            except OSError as error:
                print(error.errno)
        """
    )
    assert result.stdout in {"27\n", ""}  # EFBIG, or the signal that comes with it
    assert (cage.workspace / "file").stat().st_size == 0


def test_a_command_that_fills_its_workspace_is_ended(cage: Cage) -> None:
    code = "i=0; while :; do i=$((i+1)); head -c 10M /dev/zero > file$i; done"

    detail = refused(cage, "sh", "-c", code)

    assert "was ended" in detail
    assert "bytes, and the limit is 67108864" in detail


def test_a_command_that_makes_too_many_files_is_ended(cage: Cage) -> None:
    code = "import time\nfor i in range(6_000): open(str(i), 'w').close()\ntime.sleep(30)"

    detail = refused(cage, "python3", "-c", code)

    assert "was ended" in detail
    assert "files and directories" in detail


def test_a_command_that_filled_its_workspace_just_before_its_end_is_told_so(cage: Cage) -> None:
    detail = refused(cage, "sh", "-c", "head -c 40M /dev/zero > a; cp a b")

    assert "has ended" in detail


def test_files_without_a_name_count(cage: Cage) -> None:
    """They take space until they are closed, and no look into the directory shows them."""
    code = """
import os, time
files = []
for number in range(5):
    files.append(open(str(number), "wb"))
    os.unlink(str(number))
    files[-1].write(b"x" * (20 << 20))
    files[-1].flush()
time.sleep(30)
"""
    assert "bytes" in refused(cage, "python3", "-c", code)
    assert cage.run("true").exit_code == 0


def test_no_command_goes_on_when_the_disk_is_nearly_full(cage: Cage) -> None:
    """What a command maps into its memory and unlinks cannot be seen from outside; the disk itself shows it."""
    made = cage.with_limits(disk_reserve=1 << 60)
    made.sandbox.probe()

    assert "disk space" in refused(made, "true")
    made.put("file")
    assert made.run("rm", "file").exit_code == 0


def test_only_making_room_is_allowed_in_a_workspace_that_holds_too_much(cage: Cage) -> None:
    refused(cage, "sh", "-c", "head -c 40M /dev/zero > a; cp a b; mkdir d; touch d/x; chmod 500 d")

    for command in (["ls"], ["touch", "c"], ["/usr/bin/rm", "a"], ["sh", "-c", "rm a"], ["./rm", "a"]):
        assert "was not started" in refused(cage, *command)
    assert cage.run("chmod", "700", "d").exit_code == 0
    assert cage.run("rm", "-r", "a", "d").exit_code == 0
    assert cage.run("ls").stdout == "b\n"


def test_a_directory_that_is_too_deep_to_be_measured_stops_all_but_its_removal(cage: Cage) -> None:
    deep = "import os\nfor i in range(200): os.mkdir('d'); os.chdir('d')"
    assert "nested" in refused(cage, "python3", "-c", deep)

    assert "was not started" in refused(cage, "ls")
    assert cage.run("rm", "-r", "d").exit_code == 0
    assert cage.run("ls").exit_code == 0


# -- output -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [1, 2])
def test_endless_output_is_cut_and_ended(cage: Cage, stream: int) -> None:
    began = time.monotonic()

    result = cage.shell(f"yes >&{stream}")

    assert time.monotonic() - began < 10
    assert (result.truncated, result.timed_out, result.exit_code) == (True, False, None)
    assert len(result.stdout) + len(result.stderr) == cage.limits.output
    assert processes_of_commands() == []


def test_the_limit_of_output_is_that_of_both_streams(cage: Cage) -> None:
    result = cage.shell("yes & yes >&2")

    assert len(result.stdout) + len(result.stderr) == cage.limits.output
    assert result.truncated


def test_both_streams_are_read_at_the_same_time(cage: Cage) -> None:
    """One that nobody reads would stop the command when its pipe is full."""
    result = cage.python(
        """
        import sys
        for _ in range(100):
            sys.stderr.write("e" * 4096)
            sys.stdout.write("o" * 4096)
            sys.stdout.flush()
        """
    )
    assert (len(result.stdout), len(result.stderr), result.exit_code) == (409_600, 409_600, 0)


def test_both_streams_can_be_opened_by_their_names(cage: Cage) -> None:
    """A pipe belongs to whoever made it, which a root worker's commands are not."""
    result = cage.shell("echo out > /dev/stdout; echo error > /dev/stderr; echo both | tee /dev/stderr")

    assert (result.stdout, result.stderr) == ("out\nboth\n", "error\nboth\n")


def test_output_is_text_that_can_be_stored(cage: Cage) -> None:
    result = cage.shell(r"printf '\377a\0b\303\244'")

    assert result.stdout == "\ufffda\ufffdbä"


# -- time -------------------------------------------------------------------------------------------------------------


def test_endless_silence_ends_when_the_time_is_up(cage: Cage) -> None:
    began = time.monotonic()

    result = cage.run("sleep", "600", timeout=0.5)

    assert (result.timed_out, result.truncated, result.exit_code) == (True, False, None)
    assert 0.5 <= result.duration_seconds <= time.monotonic() - began < 5
    assert processes_of_commands() == []


def test_what_was_said_before_the_time_was_up_is_kept(cage: Cage) -> None:
    result = cage.shell("echo before; echo there >&2; exec sleep 600", timeout=1)

    assert (result.stdout, result.stderr, result.timed_out) == ("before\n", "there\n", True)


def test_a_command_that_refuses_to_end_is_ended(cage: Cage) -> None:
    code = (
        "import signal, time\nfor n in range(1, 31):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass\n"
    )

    assert cage.run("python3", "-c", f"{code}while True: time.sleep(1)", timeout=1).timed_out
    assert processes_of_commands() == []


def test_a_command_that_closes_its_output_is_waited_for(cage: Cage) -> None:
    result = cage.shell("exec >&- 2>&-; sleep 0.5; touch done; exit 3")

    assert result.exit_code == 3
    assert (cage.workspace / "done").exists()


def test_a_command_cannot_take_longer_than_a_deployment_allows(cage: Cage) -> None:
    made = cage.with_limits(timeout=0.3)

    assert made.run("sleep", "60", timeout=300).timed_out


def test_a_process_has_a_bounded_time_of_the_processor(cage: Cage) -> None:
    made = cage.with_limits(cpu_seconds=1)

    result = made.shell("while :; do :; done")

    assert result.exit_code in {128 + signal.SIGKILL, 128 + signal.SIGXCPU}
    assert not result.timed_out


def test_no_core_file_is_written_and_few_files_are_open(cage: Cage) -> None:
    result = cage.python("import os; os.abort()")

    assert result.exit_code == 128 + 6
    assert list(cage.workspace.iterdir()) == []
    assert cage.shell("ulimit -Hn").stdout == "256\n"


def test_no_crash_reaches_the_hosts_crash_handler(cage: Cage) -> None:
    """The kernel starts it as root, also where no core file may be written; a limit of one byte is what stops it."""
    result = cage.python(
        """
        import resource
        from pathlib import Path
        for limits in ((0, 0), (1, 1), (0, 1)):
            try:
                resource.setrlimit(resource.RLIMIT_CORE, limits)
                print("changed")
            except ValueError:
                print("refused")
        print(next(line for line in Path("/proc/self/limits").read_text().splitlines() if "core" in line))
        """
    )
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines == ["refused", "refused", "refused", "Max core file size 1 1 bytes"], said(result)


def test_the_controls_do_find_a_process_of_a_command() -> None:
    """`processes_of_commands` sees what it looks for."""
    from tests.support.cage import IDENTITY

    account = [] if IDENTITY.is_worker else [f"--reuid={IDENTITY.uid}", "--clear-groups"]
    with subprocess.Popen(["setpriv", *account, "--no-new-privs", "sleep", "30.5"]) as process:
        try:
            deadline = time.monotonic() + 10
            while not any("sleep 30.5" in line for line in processes_of_commands()):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.kill()
