"""A RabbitMQ of a test run's own: ports, data, node name and cookie are private, and it ends with the run."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.ports import free_ports
from devstack.programs import GUARD
from tests.support.waiting import eventually

DEBIAN_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
"""Debian's commands on the path run as the system's own user, with its cookie; these do not."""

CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{port}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
log.console = true
log.console.level = warning
log.file = false
"""

START_SECONDS = 90.0


def is_installed() -> bool:
    """Whether a RabbitMQ can be started here."""
    return _script("rabbitmq-server") is not None and shutil.which("epmd") is not None


@dataclass(frozen=True, kw_only=True)
class RabbitMq:
    """A broker that runs."""

    url: str
    pid: int
    environment: dict[str, str]

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` and return what it prints.

        Raises:
            AssertionError: it refused.
        """
        done = self._ask(*arguments)
        assert done.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def evaluate(self, expression: str) -> str:
        """Have the broker evaluate an Erlang expression."""
        return self.control("eval", expression)

    def lose_connections(self, *, times: int = 1) -> None:
        """Close every connection of every client, `times` times with a second between."""
        # One command: each starts an Erlang machine, which takes seconds where others work.
        close = 'rabbit_networking:close_connection(Pid, "a test closes it")'
        once = f"begin [{close} || Pid <- rabbit_networking:connections()], timer:sleep(1000) end"
        self.evaluate(f"[{once} || _ <- lists:seq(1, {times})].")

    def queues(self) -> dict[str, int]:
        """Return the messages that are ready on each queue."""
        lines = self.control("list_queues", "--silent", "name", "messages_ready").splitlines()
        return {name: int(count) for name, _, count in (line.partition("\t") for line in lines)}

    def connections(self) -> dict[str, int]:
        """Return how many channels each connection has, by the name that the broker gave it."""
        lines = self.control("list_connections", "pid", "channels").splitlines()
        return {name: int(count) for name, _, count in (line.partition("\t") for line in lines)}

    def lose_connection(self, name: str) -> None:
        """Close one connection."""
        self.control("close_connection", name, "a test closes it")

    def answers(self) -> bool:
        """Whether it has started."""
        return self._ask("await_startup", "--timeout", "5").returncode == 0

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(_script("rabbitmqctl")), "--silent", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def own_rabbitmq(directory: Path) -> Iterator[RabbitMq]:
    """Run a RabbitMQ with its data in `directory`, which is empty."""
    port, distribution, names = free_ports(3)
    configuration = directory / "rabbitmq.conf"
    configuration.write_text(CONFIGURATION.format(port=port))
    (directory / "plugins").write_text("[].\n")
    environment = {
        "PATH": os.defpath + ":/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        # Erlang keeps the cookie that lets commands in under the home.
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"codelab{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "no-such-file"),
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "generated"),
        "RABBITMQ_SCHEMA_DIR": str(directory / "schema"),
        # The script becomes the Erlang machine itself, so that the process started here is the broker.
        "RABBITMQ_ALLOW_INPUT": "1",
        # A test machine has few cores.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +S 1:1 +A 4",
    }
    # Erlang's name server, which the broker would otherwise start for good.
    with (
        _running(["epmd", "-port", str(names), "-address", "127.0.0.1"], directory / "epmd.log", environment),
        _running([str(_script("rabbitmq-server"))], directory / "rabbitmq.log", environment) as process,
    ):
        broker = RabbitMq(url=f"amqp://guest:guest@127.0.0.1:{port}//", pid=process.pid, environment=environment)

        def is_up() -> bool:
            assert process.poll() is None, f"RabbitMQ ended while it started:\n{_tail(directory / 'rabbitmq.log')}"
            return broker.answers()

        eventually(is_up, "RabbitMQ to start", within=START_SECONDS, every=0.5)
        yield broker


@contextmanager
def _running(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that does not outlive this process, also if that is killed."""
    guarded = [sys.executable, "-I", "-S", str(GUARD), "--log", str(log), "--", *command]
    process = subprocess.Popen(guarded, env=environment, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)  # its data is of no use any more
        process.wait(10)


def _script(name: str) -> Path | None:
    debian = DEBIAN_SCRIPTS / name
    if debian.exists():
        return debian
    found = shutil.which(name)
    return Path(found) if found else None


def _tail(log: Path) -> str:
    return log.read_text()[-2000:] if log.exists() else ""
