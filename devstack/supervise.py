"""The process of the supervisor: `supervisord`, tied to the launcher that started it.

However the launcher ends, the supervisor notices, ends every program in order, and removes what the launcher could
not remove any more.
"""

import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from supervisor import supervisord

from devstack.directory import StackDirectory
from devstack.guard import die_with_parent

FIRST_SAFE_DESCRIPTOR = 1024
"""supervisord closes all file descriptors below its `minfds` at start."""

POLL_SECONDS = 0.5


def main() -> None:
    """Run until the launcher asks for the end or ends itself."""
    configuration, path, launcher, lock, temporary = sys.argv[1:]
    parent = int(launcher)
    _keep_open(int(lock))
    if sys.platform == "linux":
        die_with_parent(signal.SIGTERM, parent=parent)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    try:
        supervisord.main(["-n", "-c", configuration])
    finally:
        if os.getppid() != parent:
            _tidy(StackDirectory(Path(path)), temporary=temporary == "temporary")


def _keep_open(lock: int) -> None:
    """Hold the stack's lock as long as this process lives."""
    fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, FIRST_SAFE_DESCRIPTOR)


def _watch(parent: int) -> None:
    """Notice the launcher's end where the kernel does not tell."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _tidy(directory: StackDirectory, *, temporary: bool) -> None:
    directory.forget()
    if temporary:
        shutil.rmtree(directory.path, ignore_errors=True)


if __name__ == "__main__":
    main()
