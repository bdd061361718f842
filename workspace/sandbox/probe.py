"""Trying the sandbox before anybody uses it: what must work works, and what must be shut is shut.

A system without user namespaces, a container that masks parts of `/proc`, a bubblewrap that is too old: none of that
is known before it was tried, and a sandbox that is not as it should be must never run a command.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from workspace.sandbox import process_tree, profile
from workspace.sandbox.attending import attend
from workspace.sandbox.errors import SandboxError
from workspace.sandbox.identity import Identity
from workspace.sandbox.launching import Launcher
from workspace.sandbox.output import Output
from workspace.tools.context import Clock

WORD: Final = "every-wall-stands"
SECONDS: Final = 20.0
_MADE: Final = "made-inside"

SCRIPT: Final = f"""
fail() {{ echo "$1"; exit 1; }}
has() {{ grep -q "$1" /proc/self/status; }}
[ "$(id -u)" = {profile.UID} ] || fail "it has another user id than it should"
[ "$(cat /proc/1/comm)" = bwrap ] || fail "it sees other processes"
has '^CapEff:[[:space:]]*0*$' || fail "it has capabilities"
has '^CapBnd:[[:space:]]*0*$' || fail "it could get capabilities"
has '^NoNewPrivs:[[:space:]]*1$' || fail "it could gain privileges"
has '^Seccomp:[[:space:]]*2$' || fail "it is under no seccomp filter"
unshare --user true 2>/dev/null && fail "it can make user namespaces"
tail -n +3 /proc/net/dev | grep -qv '^ *lo:' && fail "it has a network"
[ -e "$1" ] && fail "it sees other files of the host"
( : > "$1" ) 2>/dev/null && fail "it can write into the host's directories"
( : > /file ) 2>/dev/null && fail "it can write to its root"
( : > /usr/file ) 2>/dev/null && fail "it can write to the host's programs"
( : > /dev/file ) 2>/dev/null && fail "it can write to its devices"
( : >> /proc/sys/kernel/core_pattern ) 2>/dev/null && fail "it can write to the kernel's settings"
[ "$({profile.PRLIMIT} --nproc --noheadings --raw --output HARD)" = "$2" ] || fail "its processes are not limited"
: > {profile.WORKSPACE}/{_MADE} || fail "it cannot write to its workspace"
echo {WORD}
"""


def probe(launcher: Launcher, identity: Identity, *, processes: int) -> None:
    """Run a command in a sandbox that says whether it is one.

    Args:
        launcher: makes the sandbox.
        identity: whom it has to run as.
        processes: how many it has to be limited to.

    Raises:
        SandboxError: it is none; the text says what is wrong.
    """
    if identity.uid == 0:
        raise SandboxError("commands would run as root")
    if not process_tree.is_known():
        raise SandboxError("the kernel does not tell of a process's children (CONFIG_PROC_CHILDREN)")
    with _directories(identity) as (workspace, outside):
        marker = outside / "marker"
        marker.touch(0o666)
        marker.chmod(0o666)
        said = _run(launcher, workspace, ["sh", "-c", SCRIPT, "probe", str(marker), str(processes)])
        if said != WORD:
            raise SandboxError(f"the sandbox is not tight: {said or 'it said nothing'}")
        made = os.lstat(workspace / _MADE)
        if (made.st_uid, made.st_gid) != (identity.uid, identity.gid):
            raise SandboxError("commands run under another account than they should")


@contextmanager
def _directories(identity: Identity) -> Iterator[tuple[Path, Path]]:
    """Make a workspace for a probe, as closed as one of a tenant, and a directory that everybody may write to."""
    base = Path(tempfile.mkdtemp(prefix="codelab-probe-"))
    try:
        workspace, outside = base / "closed" / "workspace", base / "outside"
        workspace.mkdir(parents=True)
        outside.mkdir()
        base.chmod(0o755)
        outside.chmod(0o777)
        workspace.parent.chmod(0o700)
        workspace.chmod(0o700)
        if not identity.is_worker:
            os.chown(workspace, identity.uid, identity.gid)
        yield workspace, outside
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _run(launcher: Launcher, workspace: Path, command: list[str]) -> str:
    output = Output(65_536)
    clock = Clock(check=lambda: None, seconds_left=lambda: SECONDS)
    directory = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    try:
        with launcher.launched(directory, command) as running:
            until = time.monotonic() + SECONDS
            if attend(running, output, (), until=until, clock=clock):
                raise SandboxError(f"the sandbox did not answer within {SECONDS:.0f} s")
            if running.status.exit_code is None:
                raise SandboxError(first_line(output.text(2)) or "bubblewrap did not start the command")
    finally:
        os.close(directory)
    return output.text(1).strip() or first_line(output.text(2))  # a shell that cannot go on says why there


def first_line(text: str) -> str:
    """Return what bubblewrap complains of."""
    return text.strip().partition("\n")[0][:300]
