"""The kernel itself: its settings, its dangerous calls, and every way to more privileges."""

import ctypes
import platform

import pytest

from tests.support.cage import Cage, said, uncaged, uncaged_python
from workspace.sandbox.syscalls import ARCHITECTURES, MISSING, REFUSED

CALL = """
    import ctypes, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    for word in sys.argv[1].split(","):
        name, number = word.split("=")
        if os.fork() == 0:
            result = libc.syscall(ctypes.c_long(int(number)), *[ctypes.c_long(-1)] * 6)
            print(name, ctypes.get_errno() if result < 0 else "passed", flush=True)
            os._exit(0)
        os.wait()
"""
"""Each call in a process of its own, with arguments that nothing accepts: it must not get so far as to look at them."""


def test_the_kernels_settings_cannot_be_changed(cage: Cage) -> None:
    """The account of a root worker could: `core_pattern` names a program that the kernel runs as root."""
    for path in (
        *(
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/vm/drop_caches",
            "/proc/sys/fs/file-max",
        ),
        *("/proc/sysrq-trigger", "/proc/sys/user/max_user_namespaces", "/proc/irq"),
        *("/proc/sys/net/ipv4/ip_forward", "/proc/acpi", "/proc/1/mem", "/proc/mtrr"),
    ):
        assert cage.shell('echo 1 > "$1"', path).exit_code != 0, path


def test_the_memory_of_the_kernel_cannot_be_read(cage: Cage) -> None:
    for path in ("/proc/kcore", "/proc/kmsg", "/proc/kpagecount", "/dev/mem", "/dev/kmsg", "/proc/vmallocinfo"):
        assert cage.run("head", "-c", "1", path).exit_code != 0, path
    addresses = cage.shell("cut -d' ' -f1 /proc/kallsyms | sort -u").stdout.split()
    assert set(addresses) <= {"0" * 16}


def test_only_harmless_devices_are_there(cage: Cage) -> None:
    found = set(cage.run("ls", "/dev").stdout.split())

    assert found == {
        *("core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom"),
        "zero",
    }


@pytest.mark.skipif(platform.machine() not in ARCHITECTURES, reason="no filter for this processor")
def test_no_dangerous_call_comes_through(cage: Cage) -> None:
    numbers = ARCHITECTURES[platform.machine()].numbers
    # What answers `EPERM` by itself to an account without privileges tells nothing; these do otherwise.
    control = ",".join(f"{name}={numbers[name]}" for name in ("keyctl", "ptrace", "bpf", "unshare", "io_uring_setup"))
    answers = dict(line.split() for line in uncaged_python(CALL, control).splitlines())
    assert set(answers.values()) - {"1", "38"}, answers

    asked = ",".join(f"{name}={numbers[name]}" for name in (*REFUSED, *MISSING) if name in numbers)
    result = cage.python(CALL, asked)

    answers = dict(line.split() for line in result.stdout.splitlines())
    assert result.exit_code == 0, said(result)
    for name in REFUSED:
        if name in numbers:
            assert answers[name] == "1", name
    for name in MISSING:
        assert answers[name] == "38", name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a second kind of numbers is x86_64's alone")
def test_the_second_set_of_numbers_is_no_way_round(cage: Cage) -> None:
    """x32: the same calls with a high bit set."""
    socket = 0x40000000 | 41
    assert cage.python(CALL, f"socket={socket}").stdout == "socket 38\n"


def test_the_filter_holds_for_every_process_and_cannot_be_taken_off(cage: Cage) -> None:
    result = cage.shell("cat /proc/1/status /proc/self/status; sh -c 'cat /proc/self/status'")

    assert result.stdout.count("Seccomp:\t2") == 3
    assert result.stdout.count("NoNewPrivs:\t1") == 3
    assert result.stdout.count("CapEff:\t0000000000000000") == 3
    assert result.stdout.count("CapBnd:\t0000000000000000") >= 2


def test_no_user_namespace_can_be_made(cage: Cage) -> None:
    """In one, a process has every privilege over what it makes there, and the kernel's holes are open to it."""
    assert uncaged(["unshare", "--user", "--map-root-user", "id", "-u"]) == "0\n"

    result = cage.run("unshare", "--user", "--map-root-user", "id", "-u")

    assert result.exit_code != 0
    assert "not permitted" in result.stderr
    assert cage.run("bwrap", "--ro-bind", "/", "/", "true").exit_code != 0


def test_nothing_can_be_mounted(cage: Cage) -> None:
    assert uncaged(["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "x", "/mnt"]) == ""

    for command in (
        ["mount", "-t", "tmpfs", "x", "/tmp"],
        ["mount", "--bind", "/usr", "/workspace"],
        ["mount", "-o", "remount,rw", "/"],
        ["umount", "/proc/sys"],
        ["umount", "/usr"],
    ):
        assert cage.run(*command).exit_code not in (0, None), command


def test_the_root_cannot_be_changed(cage: Cage) -> None:
    code = "import os; os.chroot('/usr'); print('changed')"
    assert "not permitted" in cage.python(code).stderr


def test_no_program_gives_privileges(cage: Cage) -> None:
    """Programs with the set-user-id bit are among those of the host."""
    found = cage.shell("find /usr/bin /usr/sbin -perm /6000 -type f").stdout.split()
    assert found, "the host has none of its own to try"

    assert cage.run("su", "-c", "id").exit_code != 0
    mine = cage.shell("cp /usr/bin/id id; chmod 6755 id; ./id -u; ./id -ru; ./id -g").stdout.split()
    assert mine == ["1000", "1000", "1000"]
    options = cage.shell("grep ' / \\| /usr \\| /workspace \\| /tmp ' /proc/self/mounts").stdout.splitlines()
    assert len(options) >= 4
    assert all("nosuid" in line for line in options)


def test_no_other_account_can_be_taken(cage: Cage) -> None:
    code = """
        import os
        for change in (os.setuid, os.setgid, os.seteuid, os.setegid):
            for account in (0, 1, 1001, 65534):
                try:
                    change(account)
                    print("changed to", account)
                except OSError:
                    pass
        try:
            os.setgroups([0])
            print("joined a group")
        except OSError:
            pass
        print(os.getresuid(), os.getresgid())
    """
    assert cage.python(code).stdout == "(1000, 1000, 1000) (1000, 1000, 1000)\n"


def test_a_file_cannot_be_given_away(cage: Cage) -> None:
    assert cage.shell("touch file; chown 0 file").exit_code != 0
    assert cage.shell("setfattr -n security.capability -v 0x0 file; setcap cap_sys_admin+ep file").exit_code != 0


def test_no_terminal_takes_typing_from_a_program(cage: Cage) -> None:
    code = """
        import fcntl, os, pty, termios
        leader, follower = pty.openpty()
        os.setsid() if os.getpid() != os.getsid(0) else None
        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
        for request, argument in ((termios.TIOCSTI, b"x"), (termios.TIOCSETD, b"\\0" * 4), (0x541C, b"\\6")):
            try:
                fcntl.ioctl(follower, request, argument)
                print("done")
            except OSError as error:
                print(error.errno)
    """
    assert "done" in uncaged_python(code)

    assert cage.python(code).stdout == "1\n1\n1\n"


def test_there_is_no_terminal(cage: Cage) -> None:
    assert cage.shell("tty; exec 3<>/dev/tty").exit_code != 0
    assert cage.python("import os; print(os.getsid(0) != 0, os.isatty(0))").stdout == "True False\n"
    assert cage.run("readlink", "/proc/self/fd/0").stdout == "/dev/null\n"


def test_the_tests_see_system_calls_by_themselves() -> None:
    """The way of asking works: a call that exists answers, one that does not is missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(ctypes.c_long(100_000)) < 0
    assert ctypes.get_errno() == 38
