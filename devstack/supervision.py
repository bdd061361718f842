"""The launcher's side of the supervisor: its configuration, its process, and what it says about the programs.

It is controlled over TCP on the loopback interface with a random password rather than over a unix socket, whose path
may have 107 bytes at most: a checkout can lie deeper than that.
"""

import http.client
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from devstack.directory import ROOT, StackDirectory, StackLock, write_private
from devstack.errors import StackError
from devstack.ports import free_ports
from devstack.programs import Program

OPEN_FILES = 65_536
"""Soft limit asked for: a stack holds thousands of event streams, and shells often start with 1024."""

START_SECONDS = 15.0
STOP_MARGIN_SECONDS = 10.0

ENDED_STATES = {"STOPPED", "BACKOFF", "EXITED", "FATAL", "UNKNOWN"}

HEAD = """\
[supervisord]
{user}nodaemon = true
silent = true
umask = 077
minfds = 1024
logfile = {logs}/supervisord.log
pidfile = {directory}/supervisord.pid
childlogdir = {logs}

[inet_http_server]
port = 127.0.0.1:{port}
username = launcher
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

# `autorestart = true`: a program that somebody kills, in whatever way, comes back.
SECTION = """
[program:{name}]
command = {command}
directory = {root}
priority = {order}
autostart = false
autorestart = true
startsecs = 1
startretries = 20
stopsignal = {signal}
stopwaitsecs = {stop_seconds}
killasgroup = true
stdout_logfile = NONE
stderr_logfile = NONE
"""


def configuration(directory: StackDirectory, programs: Iterable[Program], port: int, password: str) -> str:
    """The supervisor's configuration file."""

    def literal(value: object) -> str:
        return str(value).replace("%", "%%")

    head = HEAD.format(
        logs=literal(directory.logs),
        directory=literal(directory.path),
        port=port,
        password=password,
        # Only says that root is meant: nothing changes, but a warning goes away.
        user="user = root\n" if os.geteuid() == 0 else "",
    )
    sections = (
        SECTION.format(
            name=program.name,
            command=literal(program.guarded(directory)),
            root=literal(ROOT),
            order=program.order,
            signal=program.stop_signal.name.removeprefix("SIG"),
            stop_seconds=program.stop_seconds,
        )
        for program in programs
    )
    return head + "".join(sections)


class Supervisor:
    """A running supervisor."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, stop_seconds: float) -> None:
        self.process = process
        self.url = url
        self._stop_seconds = stop_seconds
        self._pids: dict[str, int] = {}
        self._calls = calls(url)

    @classmethod
    def start(
        cls,
        directory: StackDirectory,
        programs: Iterable[Program],
        lock: StackLock,
        environment: Mapping[str, str],
        *,
        temporary: bool,
    ) -> "Supervisor":
        """Start the supervisor process; none of the programs runs yet."""
        programs = tuple(programs)
        (port,) = free_ports(1)
        password = secrets.token_urlsafe(32)
        path = directory.path / "supervisord.conf"
        write_private(path, configuration(directory, programs, port, password))
        _raise_open_files()
        command = [sys.executable, "-m", "devstack.supervise", str(path), str(directory.path), str(os.getpid())]
        with directory.log("supervisord").open("ab") as log:
            process = subprocess.Popen(
                [*command, str(lock.descriptor), "temporary" if temporary else "standing"],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.descriptor,),
                # Ctrl-C in the terminal is the launcher's to handle, in order.
                start_new_session=True,
            )
        patience = sum(program.stop_seconds for program in programs) + STOP_MARGIN_SECONDS
        return cls(process, f"http://launcher:{password}@127.0.0.1:{port}/RPC2", patience)

    def await_control(self, directory: StackDirectory) -> None:
        """Wait until it listens.

        Raises:
            StackError: it does not.
        """
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                self._calls.getState()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            else:
                return
        raise StackError(f"the process manager did not start; see {directory.log('supervisord')}")

    def run(self, program: Program) -> None:
        """Start one program without waiting for it."""
        wait = False
        self._calls.startProcess(program.name, wait)

    def has_ended(self, program: Program) -> bool:
        """Whether the program came to an end, for now or for good."""
        return bool(self._calls.getProcessInfo(program.name)["statename"] in ENDED_STATES)

    def look(self) -> dict[str, tuple[str, int]]:
        """State and process id (0: none) of every program.

        Raises:
            StackError: the supervisor is gone.
        """
        try:
            found = states(self._calls)
        except (OSError, http.client.HTTPException):
            if self.process.poll() is None:
                return {name: ("RUNNING", pid) for name, pid in self._pids.items()}
            raise StackError("the process manager has died") from None
        except xmlrpc.client.Fault:
            raise StackError("somebody else is ending the process manager") from None
        self._pids = {name: pid for name, (_, pid) in found.items()}
        return found

    def stop(self) -> None:
        """End all programs in order, then the supervisor."""
        if self.process.poll() is None:
            with suppress(StackError):
                self.look()
            self.process.terminate()
            self._await_end()
        if self.process.poll() != 0:
            self.abort()
            self.process.wait()
            self._kill_programs()

    def _await_end(self) -> None:
        deadline = time.monotonic() + self._stop_seconds
        while time.monotonic() < deadline:
            # It looks after its programs once a second or whenever somebody talks to it: so somebody does.
            with suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
                self._calls.getState()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
                return

    def abort(self) -> None:
        """End the supervisor at once; `stop` then does the same with the programs."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    def _kill_programs(self) -> None:
        """Second line behind the guards, which end with the supervisor by themselves where the kernel helps."""
        for name, pid in self._pids.items():
            try:
                # Postgres ends its own children, and only when it is not killed itself.
                os.kill(pid, signal.SIGINT) if name == "postgres" else os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def calls(url: str) -> Any:
    """The supervisor's remote procedures."""
    return xmlrpc.client.ServerProxy(url).supervisor


def states(supervisor: Any) -> dict[str, tuple[str, int]]:
    """State and process id (0: none) of every program."""
    return {info["name"]: (info["statename"], info["pid"]) for info in supervisor.getAllProcessInfo()}


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
