"""One stack: starts its programs in order, watches them, and ends them without leaving anything."""

import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from devstack import envfile, health, plan, postgres, programs, tokens
from devstack.directory import ROOT, StackDirectory, StackLock
from devstack.environment import External, Secrets
from devstack.errors import StackError
from devstack.output import progress, report, say
from devstack.plan import Options, Plan
from devstack.programs import GUARD, Program
from devstack.supervision import Supervisor

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 20
OWN_FACTS = {"API_URL", "TOKEN", "ADMIN_TOKEN", "FLOWER_URL", "API_PID", "WORKER_PIDS", "BEAT_PID"}
"""What a bare stack has nothing to say about."""


class Stack:
    """A stack from its first file to its last.

    `check` is called in every wait and raises when the stack should end instead.
    """

    def __init__(
        self, directory: StackDirectory, options: Options, user: Mapping[str, str], check: Callable[[], None]
    ) -> None:
        self.directory = directory
        self.options = options
        self._user = user
        self._check = check
        self._lock: StackLock | None = None
        self._place: postgres.Place | None = None
        self._plan: Plan | None = None
        self._supervisor: Supervisor | None = None
        self._pids: dict[str, int] = {}
        self._given_up: set[str] = set()
        self._tokens: dict[str, str] = {}

    @property
    def plan(self) -> Plan:
        """What the stack consists of, from `start` on."""
        assert self._plan is not None
        return self._plan

    @property
    def has_started(self) -> bool:
        """Whether there are processes to end."""
        return self._supervisor is not None

    def start(self) -> None:
        """Bring everything up, each program after what it needs.

        Raises:
            StackError: something did not become ready in time; the end of its log is part of the message.
        """
        self.directory.create()
        self._lock = StackLock.acquire(self.directory)
        started = time.monotonic()
        say(f"Starting the stack in {self.directory.path}")
        self.directory.forget()
        self.directory.clear()
        self._prepare_postgres()
        self._plan = plan.make(self.directory, self.options, self._user, self._place)
        self._supervisor = Supervisor.start(
            self.directory,
            [*self.plan.stores, *self.plan.own],
            self._lock,
            self.plan.variables,
            temporary=self.options.temporary,
        )
        self._supervisor.await_control(self.directory)
        self._record()
        self._run_all(self.plan.stores)
        self._await_external()
        if self._place is not None:
            postgres.create_database(self.plan.addresses.database_url)
        if self.plan.own:
            self._migrate()
            self._run_all(self.plan.own)
        self._publish()
        say(f"  all ready after {time.monotonic() - started:.1f} s")

    def watch(self) -> None:
        """One look at the programs: tell what ended or came back, and keep the file of addresses true.

        Raises:
            StackError: the supervisor is gone.
        """
        assert self._supervisor is not None
        pids = dict(self._pids)
        for name, (state, pid) in self._supervisor.look().items():
            before = pids.get(name, 0)
            if pid:
                pids[name] = pid
            if state == "FATAL" and name not in self._given_up:
                self._given_up.add(name)
                say(f"{name} does not start any more; see {self.directory.log(name)}")
            elif pid and before and pid != before:
                say(f"{name} has ended (pid {before}) and was started again (pid {pid})")
        if pids != self._pids:
            self._pids = pids
            envfile.write(self.directory.env_file, self.facts())

    def stop(self, *, keep_logs: bool = False) -> None:
        """End everything and remove what should not stay. Safe at any moment."""
        if self._supervisor is not None:
            self.directory.env_file.unlink(missing_ok=True)
            self._supervisor.stop()
        if self._place is not None and self._place.private is not None:
            shutil.rmtree(self._place.private, ignore_errors=True)
        if self._lock is None:
            return
        self.directory.forget()
        if self.options.temporary:
            self.directory.remove(keep_logs=keep_logs)
        self._lock.release()

    def abort(self) -> None:
        """Let a `stop` that is under way end everything at once; may be called from a signal handler."""
        if self._supervisor is not None:
            self._supervisor.abort()

    def facts(self) -> dict[str, str]:
        """What scripts need to know: addresses, tokens, process ids."""
        addresses = self.plan.addresses
        facts = {
            "API_URL": addresses.api_url,
            **self._tokens,
            "DATABASE_URL": health.plain_postgres(addresses.database_url),
            "REDIS_URL": addresses.redis_url,
            "FLOWER_URL": addresses.flower_url,
            "DATA_DIR": self.plan.variables["DATA_DIR"],
            "MODEL_URL": addresses.model_url,
            "API_PID": self._pid_list("api"),
            "WORKER_PIDS": self._pid_list("worker"),
            "BEAT_PID": self._pid_list("beat"),
            # With these, `celery -A tasks inspect ...` finds its settings.
            "ENVIRONMENT": self.plan.variables["ENVIRONMENT"],
            "JWT_SECRET": self.plan.variables["JWT_SECRET"],
        }
        return {name: value for name, value in facts.items() if not (self.options.bare and name in OWN_FACTS)}

    def child_environment(self) -> dict[str, str]:
        """The environment of a command that works with the stack, such as a test run."""
        return {
            **self.plan.variables,
            **self.facts(),
            "CODELAB_STACK_DIR": str(self.directory.path),
            "CODELAB_SUPERVISOR_URL": self._supervisor.url if self._supervisor else "",
        }

    def _prepare_postgres(self) -> None:
        if External.of(self._user).database_url:
            return
        self._place = postgres.find_place(self.directory)
        fresh = not self._place.is_initialised
        started = time.monotonic()
        postgres.initialise(self._place, Secrets.load(self.directory).postgres)
        if fresh:
            report("database", "created", time.monotonic() - started)
        if self._place.private is not None and not self.options.temporary:
            say(f"  The data lives in {self._place.private} and goes with this stack:")
            say(f"  Postgres runs as {self._place.user}, who cannot reach {self.directory.path}.")

    def _record(self) -> None:
        assert self._supervisor is not None
        private = self._place.private if self._place else None
        self.directory.write_state(
            {
                "supervisor_url": self._supervisor.url,
                "signing": tokens.as_state(self.plan.signing),
                "private_directories": [str(private)] if private else [],
            }
        )

    def _run_all(self, group: Sequence[Program]) -> None:
        """Start the programs side by side, and wait for each in turn."""
        assert self._supervisor is not None
        started = time.monotonic()
        for program in group:
            self._supervisor.run(program)
        for program in group:
            self._await(program, started)
            report(program.name, "ready", time.monotonic() - started)

    def _await(self, program: Program, started: float) -> None:
        assert self._supervisor is not None
        while not program.ready():
            self._check()
            if self._supervisor.has_ended(program):
                raise StackError(f"{program.name} ended while it started{self._tail(program.name)}")
            if time.monotonic() - started > program.ready_seconds:
                raise StackError(
                    f"{program.name} was not ready within {program.ready_seconds:.0f} s{self._tail(program.name)}"
                )
            time.sleep(POLL_SECONDS)

    def _await_external(self) -> None:
        """Fail early, and by name, if a service from the user's environment does not answer."""
        external = self.plan.addresses.external
        if external.database_url and not health.postgres_ok(external.database_url):
            raise StackError("no Postgres answers at DATABASE_URL; start it, or unset DATABASE_URL to use the stack's")
        if external.redis_url and not health.redis_ok(external.redis_url):
            raise StackError("no Redis answers at REDIS_URL; start it, or unset REDIS_URL to use the stack's")

    def _migrate(self) -> None:
        command = [sys.executable, "-I", "-S", str(GUARD), "--log", str(self.directory.log("migrations")), "--"]
        with progress("migrations", "done"):
            result = subprocess.run(
                [*command, sys.executable, "-m", "models.migrate"], cwd=ROOT, env=self.plan.variables, check=False
            )
        if result.returncode != 0:
            raise StackError(f"the migrations failed{self._tail('migrations')}")

    def _publish(self) -> None:
        """Everything is healthy: let the world know."""
        self._tokens = {
            "TOKEN": tokens.sign(self.plan.signing, "developer"),
            "ADMIN_TOKEN": tokens.sign(self.plan.signing, "administrator", admin=True),
        }
        self.watch()

    def _pid_list(self, prefix: str) -> str:
        return " ".join(map(str, programs.pids(self._pids, prefix)))

    def _tail(self, name: str) -> str:
        path = self.directory.log(name)
        try:
            with path.open(errors="replace") as log:
                lines = deque(log, LOG_TAIL_LINES)
        except OSError:
            lines = deque()
        shown = "".join(f"    {line.rstrip()}\n" for line in lines)
        return f"; the end of {path}:\n{shown}".rstrip()
