"""The sandbox itself: the arguments of bubblewrap, and the limits around and inside of it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from workspace.sandbox.identity import Identity
from workspace.sandbox.limits import Limits

WORKSPACE: Final = "/workspace"
"""Where a command finds its workspace. Nothing is ever mounted below it: bubblewrap 0.8 follows the tenant's own
symbolic links to such a place (CVE-2026-87766)."""

TEMPORARY: Final = "/tmp"  # noqa: S108  # the sandbox's own
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108

PRLIMIT: Final = "/usr/bin/prlimit"
"""Inside."""

HOSTNAME: Final = "codelab-sandbox"
"""Inside; on the host it marks the sandboxes that are ours."""

UID: Final = 1000
"""Inside; to the host it is another account."""

ONLY_WITH_ITS_WORKER: Final = '[ "$PPID" = "$1" ] || exit; shift; exec "$@"'
"""A shell's first task. A worker that ended before the kernel was asked to tell of it is not told of."""

WHEN_SETTLED: Final = """
tries=0
until
    set_up=
    [ -e /proc/1/fd/0 ] && set_up=yes
    for each in /proc/1/fd/*; do
        case "${each##*/}" in [012]) continue ;; esac
        if [ -d "$each" ] || [ -p "$each" ]; then set_up=; fi
    done
    [ "$set_up" ]
do
    [ "$tries" -lt 2000 ] || { echo "it sees other processes, or keeps files of the host open" >&2; exit 125; }
    tries=$((tries + 1))
    sleep 0.001
done
exec "$@"
"""
"""A shell's last task before the command. bubblewrap's first process closes what it has from the host only after it
has started the command: the host's `/proc` for one, which a command that was quick enough could walk into."""

_OPEN_FILES: Final = 256
_SHARED_MEMORY_BYTES: Final = 8 * 1024 * 1024
_TEMPORARY_BYTES: Final = 64 * 1024 * 1024


class Programs(NamedTuple):
    """Where they are on this host."""

    sh: str
    choom: str
    setpriv: str
    prlimit: str
    bwrap: str


class Descriptors(NamedTuple):
    """What bubblewrap gets, and keeps from the command."""

    seccomp: int
    """It reads the filter from it."""
    status: int
    """It writes to it what became of the command."""


def arguments(
    programs: Programs,
    command: Sequence[str],
    *,
    identity: Identity,
    worker: int,
    source: str,
    descriptors: Descriptors,
    limits: Limits,
) -> list[str]:
    """Return the command line that runs `command` in a sandbox.

    Args:
        programs: where to find bubblewrap.
        command: and its arguments.
        identity: whom it runs as to the host.
        worker: the process that runs it, and has to live for as long.
        source: the directory of the host that the workspace is in.
        descriptors: those that bubblewrap inherits.
        limits: of the command.
    """
    return [
        *_first_to_go(programs.choom),
        *_dropped(programs.setpriv, identity),
        *(programs.sh, "-c", ONLY_WITH_ITS_WORKER, "sh", str(worker)),
        *_outer_limits(programs.prlimit, limits),
        programs.bwrap,
        *_namespaces(),
        *_account(),
        *_environment(),
        *_system(),
        *_kernel(),
        *_files(source),
        *("--seccomp", str(descriptors.seccomp), "--json-status-fd", str(descriptors.status), "--"),
        *("/bin/sh", "-c", WHEN_SETTLED, "sh"),
        *_inner_limits(limits),
        *command,
    ]


def _first_to_go(choom: str) -> list[str]:
    """Return what has the kernel end the command rather than the worker when the host has no memory left.

    Commands that behave keep it so; one that does not can take it back, and meets the limits of the container.
    """
    return [choom, "--adjust=1000", "--"]


def _dropped(setpriv: str, identity: Identity) -> list[str]:
    """Return what gives up root, and the way back to it.

    A program of its own does it: `subprocess` would copy the worker's page tables for that, and hold up all of its
    threads for 10 ms where it has 300 MB. It also ends with the thread that started it before bubblewrap sees to that.
    """
    account = [] if identity.is_worker else [f"--reuid={identity.uid}", f"--regid={identity.gid}", "--clear-groups"]
    return [setpriv, *account, "--no-new-privs", "--pdeathsig=KILL", "--"]


def _outer_limits(prlimit: str, limits: Limits) -> list[str]:
    return [
        prlimit,
        f"--cpu={limits.cpu_seconds}",
        f"--as={limits.address_space}",
        f"--fsize={limits.workspace_bytes}",
        f"--nofile={_OPEN_FILES}",
        # One byte, not none: below a page no file is written, and with exactly this the kernel does not pipe it to a
        # crash handler either, which would run as root and look at what a tenant made to crash.
        "--core=1",
        "--",
    ]


def _namespaces() -> list[str]:
    return [
        # --unshare-all only tries for a user namespace and goes on without: it is asked for by name as well.
        *("--unshare-all", "--unshare-user"),
        *("--disable-userns", "--assert-userns-disabled"),
        *("--hostname", HOSTNAME),
        # It follows the thread that started bubblewrap, not the process.
        "--die-with-parent",
        "--new-session",
    ]


def _account() -> list[str]:
    return ["--uid", str(UID), "--gid", str(UID), "--cap-drop", "ALL"]


def _environment() -> list[str]:
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": WORKSPACE, "LANG": "C.UTF-8"}
    return ["--clearenv", *(word for pair in variables.items() for word in ("--setenv", *pair))]


def _system() -> list[str]:
    """Return the programs and libraries of the host, to be read; of `/etc` only what leads to them."""
    return [
        *("--ro-bind", "/usr", "/usr"),
        *("--symlink", "usr/bin", "/bin"),
        *("--symlink", "usr/lib", "/lib"),
        *("--symlink", "usr/lib64", "/lib64"),
        *("--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),
        *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
    ]


def _kernel() -> list[str]:
    """Return `/proc` and `/dev`; what bubblewrap leaves writable there is closed, or bounded."""
    return [
        *("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"),
        *("--dev", "/dev", "--size", str(_SHARED_MEMORY_BYTES), "--tmpfs", SHARED_MEMORY),
        *("--remount-ro", "/dev"),
    ]


def _files(source: str) -> list[str]:
    return [
        *("--size", str(_TEMPORARY_BYTES), "--tmpfs", TEMPORARY),
        *("--bind", source, WORKSPACE, "--chdir", WORKSPACE),
        # At the end: all that is mounted on it needs its place first.
        *("--remount-ro", "/"),
    ]


def _inner_limits(limits: Limits) -> list[str]:
    """Return the limit that counts only inside: outside of the user namespace it would be one for all tenants."""
    return [PRLIMIT, f"--nproc={limits.processes}:{limits.processes}", "--"]
