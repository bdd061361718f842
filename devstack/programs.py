"""The programs of a stack as data: what runs, in which order it starts and ends, and how it says that it is ready."""

import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack import health
from devstack.directory import SCHEDULE, StackDirectory

GUARD = Path(__file__).with_name("guard.py")

WORKER_THREADS = 160
"""NODE_SLOTS (128) agent tasks, and 32 more so that sweeps and placement never wait behind model calls."""

WORKER_QUEUES = "placement,control,maintenance"
"""The shared queues; the agents' own queues are consumed by the nodes that host them."""

WORKER_STOP_SECONDS = 35
"""NODE_SHUTDOWN_GRACE (30), and a little to tidy up."""

CELERY_READY = re.compile(r"\bready\.|worker_ready")
BEAT_READY = re.compile(r"beat: Starting|\bbeat_(init|started)")


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program under the supervisor."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    order: int
    """Programs stop one after the other, the highest first."""
    ready_seconds: float = 90.0
    """How long it may take to become ready: the first start on a slow disk takes long, an end is noticed at once."""
    stop_seconds: int = 10
    """How long it may take to end before it is killed."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the supervisor itself was killed: nothing can be saved then, nothing may stay."""
    user: str | None = None
    """The unprivileged user to run as, if not the launcher's own."""
    clean_environment: bool = False
    """Whether to keep the stack's environment, secrets included, from the program."""

    def guarded(self, directory: StackDirectory) -> str:
        """The command line the supervisor runs."""
        options = ["--log", str(directory.log(self.name)), "--death-signal", str(int(self.death_signal))]
        if self.user:
            options += ["--user", self.user]
        if self.clean_environment:
            options += ["--clean-environment"]
        return shlex.join([sys.executable, "-I", "-S", str(GUARD), *options, "--", *self.command])


@dataclass(frozen=True, kw_only=True)
class ApplicationPorts:
    """Where the programs of this project listen."""

    api: int
    flower: int


def standin(port: int) -> Program:
    """The stand-in model server."""
    return Program(
        name="standin",
        command=_python(
            "gunicorn", "--worker-class", "gevent", "--workers", "1", "--worker-connections", "4000",
            "--backlog", "2048", "--keep-alive", "75", "--graceful-timeout", "1", "--no-control-socket",
            "--bind", f"127.0.0.1:{port}", "devstack.standin.app:create_app()",
        ),
        ready=lambda: health.http_ok(f"http://127.0.0.1:{port}/health"),
        order=30,
    )  # fmt: skip


def application(directory: StackDirectory, ports: ApplicationPorts, workers: int, flower_auth: str) -> list[Program]:
    """API, workers, scheduler and monitor of this project."""
    flower = f"http://{flower_auth}@127.0.0.1:{ports.flower}/"
    return [
        Program(
            name="api",
            command=_python("gunicorn", "-c", "api/gunicorn_conf.py", "api.app:create_app()"),
            ready=lambda: health.http_ok(f"http://127.0.0.1:{ports.api}/ready"),
            order=40,
        ),
        *(_worker(directory, number) for number in range(1, workers + 1)),
        Program(
            name="flower",
            command=_celery("flower", "--address=127.0.0.1", f"--port={ports.flower}", f"--basic-auth={flower_auth}"),
            ready=lambda: health.http_ok(flower),
            order=60,
        ),
        Program(
            name="beat",
            command=_celery("beat", "-s", str(directory.path / SCHEDULE), "-l", "INFO"),
            ready=lambda: health.log_matches(directory.log("beat"), BEAT_READY),
            order=70,
        ),
    ]


def worker_command(node: str) -> tuple[str, ...]:
    """The command line of a node; `node` is its worker's name, `name@host`, and no other node's."""
    return _celery(
        "worker", "-P", "threads", "-c", str(WORKER_THREADS), "--prefetch-multiplier", "1", "-Q", WORKER_QUEUES,
        "-n", node, "--without-gossip", "--without-mingle", "-l", "INFO",
    )  # fmt: skip


def worker_is_ready(log: Path) -> bool:
    """Whether a node has said in its log that it takes work."""
    return health.log_matches(log, CELERY_READY)


def _worker(directory: StackDirectory, number: int) -> Program:
    name = f"worker{number}"
    return Program(
        name=name,
        command=worker_command(f"node{number}@{directory.path.name.lstrip('.')}"),
        ready=lambda: worker_is_ready(directory.log(name)),
        order=50,
        stop_seconds=WORKER_STOP_SECONDS,
    )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _celery(*arguments: str) -> tuple[str, ...]:
    return _python("celery", "-A", "tasks", *arguments)


def pids(programs: Mapping[str, int], prefix: str) -> list[int]:
    """The process ids of all programs whose name is `prefix` or `prefix` and a number, in the names' order."""
    pattern = re.compile(rf"{prefix}(\d*)")
    found = ((match, pid) for name, pid in programs.items() if pid and (match := pattern.fullmatch(name)))
    return [pid for _, pid in sorted((int(match[1] or 0), pid) for match, pid in found)]
