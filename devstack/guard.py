"""Run one program of the stack: redirect its output, drop privileges, and tie its life to its parent's.

The supervisor starts every program through this file, which replaces itself by the program (`exec`), so that the
process the supervisor watches is the program itself. It exists for three reasons:

* if the supervisor is killed hard, the kernel ends the program too (Linux; elsewhere the launcher does);
* the log is a plain file, so a busy program costs the supervisor nothing and never blocks on a full pipe;
* Postgres refuses to run as root.

Only the standard library, and no import of this package: it starts in isolated mode before any of that is needed.
"""

import argparse
import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
"""From `linux/prctl.h`."""


def die_with_parent(number: int, *, parent: int | None = None) -> None:
    """Ask the kernel to send this process signal `number` when its parent ends (Linux only, otherwise nothing).

    Must follow any change of user, which clears the request. `parent` is the process id that the parent had when
    it started this one: if it is gone already, the signal is sent now.
    """
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def become(user: str) -> None:
    """Give up root for `user`, for good."""
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def redirect_output(path: str) -> None:
    """Append standard output and error to the file `path`, readable by its owner only."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def main(arguments: Sequence[str]) -> None:
    """Replace this process by the program named in `arguments`."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="guard", allow_abbrev=False)
    parser.add_argument("--log", help="file that receives standard output and error")
    parser.add_argument("--user", help="unprivileged user to run as")
    parser.add_argument("--death-signal", type=int, default=int(signal.SIGKILL), help="sent when the parent ends")
    parser.add_argument("--clean-environment", action="store_true", help="pass nothing on but PATH and LANG")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    if options.log:
        redirect_output(options.log)
    if options.user:
        become(options.user)
    die_with_parent(options.death_signal, parent=parent)
    environment = dict(os.environ)  # handed on, not read
    if options.clean_environment:
        environment = {name: value for name, value in environment.items() if name in {"PATH", "LANG"}}
    try:
        os.execvpe(options.command[0], options.command, environment)
    except OSError as error:
        sys.exit(f"cannot run {options.command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
