"""Starting a program on a thread of its own, which lives for as long as the program may.

bubblewrap ends when the thread that started it ends, so that nothing outlives the worker. The thread is also the one
that leaves for a mount namespace of its own (`private_mount.py`), and that has stepped back behind the rest of the
worker: what it starts gets the processor when nobody else wants it more.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

NICENESS: Final = 10

Process = subprocess.Popen[bytes]


@contextmanager
def spawned(start: Callable[[], Process]) -> Iterator[Process]:
    """Let `start` run on a thread that lives as long as the block; what it raises is raised here."""
    started: Future[Process] = Future()
    over = threading.Event()
    thread = threading.Thread(target=_spawn, args=(start, started, over), name="sandbox", daemon=True)
    thread.start()
    try:
        yield started.result()
    finally:
        over.set()
        thread.join()


def _spawn(start: Callable[[], Process], started: "Future[Process]", over: threading.Event) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        process = start()
    except BaseException as error:
        started.set_exception(error)
        return
    started.set_result(process)
    over.wait()
