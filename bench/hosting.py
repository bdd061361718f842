"""What a thousand hosted workspaces cost a node while nothing happens: `python -m bench.hosting`.

Each workspace has one agent. The node is measured without workspaces, with all of them hosted, with each agent attached
by one answered message, and after it has closed what is idle. Beside it, in the same run, as many bare kombu channels
in a process of their own: a queue and a prefetch count for each agent costs at least that.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import redis
from celery import Celery

from bench import procfs, rows, usage
from bench.client import BenchError, Line, post_all
from bench.report import Table
from bench.stack import AGENT, Channels, our_processes, with_stack
from bench.tenants import several, tenant
from devstack.output import say
from devstack.ports import free_ports
from devstack.stack import Stack
from settings import Settings
from workspace.agent_bus import AgentBus
from workspace.names import WorkspaceKey

PROJECTS = 10
"""Of each user."""
WARM_UP = 200
"""Messages before anything is measured: threads, connections and caches are there then."""
POSTERS = 8
IDLE_SECONDS = 30.0
"""As long as one BRPOP of an agent's channel: each is renewed once."""
SETTLE_SECONDS = 5.0
LOOK_SECONDS = 0.25
PLACE_SECONDS = 120.0
ANSWER_SECONDS = 300.0
LATE_SECONDS = 120.0
"""How long after its time an idle workspace may be closed."""
IDLE_SETTINGS = ("agent_idle_timeout", "workspace_idle_timeout")
WORKSPACES = "SELECT user_id::text, project_id::text FROM workspaces"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Size:
    """How many workspaces, and when they are idle."""

    workspaces: int
    agent_idle: int
    """Seconds; all workspaces must be attached and measured within them."""
    workspace_idle: int


FULL = Size(workspaces=1000, agent_idle=180, workspace_idle=300)
QUICK = Size(workspaces=100, agent_idle=60, workspace_idle=120)


class State(NamedTuple):
    """What one moment, and the idle seconds after it, cost."""

    proportional: int
    unique: int
    """Bytes of the process that is measured."""
    connections: int
    redis_memory: int
    cpu_process: float
    cpu_redis: float
    cpu_postgres: float
    """Percent of a core."""

    @property
    def cpu(self) -> float:
        """All of it."""
        return self.cpu_process + self.cpu_redis + self.cpu_postgres


@dataclass
class Found:
    """What a run found."""

    size: Size
    states: dict[str, State] = field(default_factory=dict)
    agents_closed: float | None = None
    """Seconds from the last message until the last agent was detached."""
    workspaces_closed: float | None = None
    placed: float = 0.0
    """Seconds that placing all of them took."""


class Scene:
    """The stack, its processes and its stores."""

    def __init__(self, stack: Stack, metrics_port: int) -> None:
        facts = stack.facts()
        self.stack = stack
        self.database_url = facts["DATABASE_URL"]
        self.redis: Any = redis.Redis.from_url(facts["REDIS_URL"])
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        self._processes = our_processes(stack)
        self.node = self._processes.worker

    def state(self, process: int) -> State:
        """Let things settle, measure, and watch the idle system for a while."""
        rows.maintain(self.database_url)
        time.sleep(SETTLE_SECONDS)
        processes = replace(self._processes, worker=process)
        before, started = usage.read(processes), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        used = usage.used(before, usage.read(processes))
        share = 100 / (time.perf_counter() - started)
        memory = procfs.memory(process)
        return State(
            *memory,
            self.redis.info("clients")["connected_clients"],
            self.redis.info("memory")["used_memory"],
            used.worker * share,
            used.redis * share,
            used.postgres * share,
        )

    def gauge(self, name: str) -> int:
        """Return one of the node's own metrics."""
        text = httpx.get(self._metrics, trust_env=False).text
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
        return int(float(line.split()[1]))

    def await_gauge(self, name: str, wanted: int, seconds: float) -> float:
        """Wait until a metric has a value; returns when that was, on the performance counter.

        Raises:
            BenchError: it has not within so many seconds.
        """
        deadline = time.perf_counter() + seconds
        while (value := self.gauge(name)) != wanted:
            if time.perf_counter() > deadline:
                raise BenchError(f"{name} is {value} instead of {wanted} after {seconds:.0f} s")
            time.sleep(LOOK_SECONDS)
        return time.perf_counter()

    def check_all_are_there(self, size: Size, attached: int) -> None:
        """See that nothing was closed while it was measured.

        Raises:
            BenchError: something was.
        """
        if (self.gauge(HOSTED), self.gauge(ATTACHED)) != (size.workspaces, attached):
            raise BenchError(
                "workspaces were closed while they were measured: raise the idle times in bench/hosting.py"
            )


HOSTED = "codelab_workspaces_hosted"
ATTACHED = "codelab_agents_attached"


def can_close() -> bool:
    """Whether the system closes what is idle."""
    return all(name in Settings.model_fields for name in IDLE_SETTINGS)


async def _warm_up(scene: Scene) -> None:
    """Use every part once, in a project that is deleted again."""
    async with tenant(scene.stack, "bench-warm-up") as user:
        project = f"/my/projects/{(await user.make('/my/projects/', {'name': 'warm-up'}))['id']}"
        agent = await user.make(f"{project}/agents/", {"name": AGENT, "concurrency_limit": 20})
        lines = [await user.session(project) for _ in range(WARM_UP // 10)]
        await _post(lines * 10)
        await rows.all_answered(scene.database_url, [agent["id"]], ANSWER_SECONDS)
        await user.remove(f"{project}/")


async def _make(scene: Scene, count: int) -> tuple[list[Line], list[str]]:
    """Make projects with an agent and a session each; returns where messages go, and the agents."""
    lines: list[Line] = []
    agents: list[str] = []

    async def make(number: int) -> None:
        async with tenant(scene.stack, f"bench-{number}") as user:
            for each in range(number, count, count // PROJECTS):
                project = f"/my/projects/{(await user.make('/my/projects/', {'name': f'project {each}'}))['id']}"
                agents.append((await user.make(f"{project}/agents/", {"name": AGENT}))["id"])
                lines.append(await user.session(project))

    await several(make, range(count // PROJECTS))
    return lines, agents


async def _post(lines: Sequence[Line]) -> None:
    body = {"target_agent": AGENT, "content": "Hello."}
    await post_all(lines[0].address, [line.post(body) for line in lines], POSTERS)


def _place(scene: Scene, lines: Sequence[Line]) -> None:
    """Ask the node to host each workspace, as the web process does when it finds none."""
    broker = scene.stack.facts()["REDIS_URL"]
    with Celery("bench", broker=urlsplit(broker)._replace(path="/1").geturl(), set_as_current=False) as sender:
        sender.conf.task_default_queue = "bench"
        bus = AgentBus(sender)
        projects = {line.post_path.split("/")[3] for line in lines}
        for user_id, project_id in rows.query(
            scene.database_url, "SELECT user_id::text, project_id::text FROM workspaces"
        ):
            if project_id in projects and not bus.request_placement(WorkspaceKey(UUID(user_id), UUID(project_id))):
                raise BenchError("the broker did not take a request for placement")


def measure(scene: Scene, channels: Channels, size: Size) -> Found:
    """Take the node from nothing to a full house and back."""
    found = Found(size)
    asyncio.run(_warm_up(scene))
    scene.await_gauge(HOSTED, 0, PLACE_SECONDS)
    say("  no workspaces")
    found.states["empty"] = scene.state(scene.node)
    say(f"  {size.workspaces} bare channels")
    channels.start()
    found.states["one channel"] = scene.state(channels.process)
    channels.open(size.workspaces)
    found.states["channels"] = scene.state(channels.process)
    channels.stop()
    say(f"  making {size.workspaces} workspaces")
    lines, agents = asyncio.run(_make(scene, size.workspaces))
    started = time.perf_counter()
    _place(scene, lines)
    found.placed = scene.await_gauge(HOSTED, size.workspaces, PLACE_SECONDS) - started
    say(f"  {size.workspaces} hosted workspaces")
    found.states["hosted"] = scene.state(scene.node)
    scene.check_all_are_there(size, 0)
    asyncio.run(_attach(scene, lines, agents))
    last = time.perf_counter()
    say(f"  {size.workspaces} attached agents")
    found.states["attached"] = scene.state(scene.node)
    scene.check_all_are_there(size, size.workspaces)
    if can_close():
        say("  waiting until all are closed")
        found.agents_closed = scene.await_gauge(ATTACHED, 0, size.agent_idle + LATE_SECONDS) - last
        found.workspaces_closed = scene.await_gauge(HOSTED, 0, size.workspace_idle + LATE_SECONDS) - last
        found.states["closed"] = scene.state(scene.node)
    return found


async def _attach(scene: Scene, lines: Sequence[Line], agents: Sequence[str]) -> None:
    await _post(lines)
    await rows.all_answered(scene.database_url, agents, ANSWER_SECONDS)


def table(found: Found) -> Table:
    """Return the states beside each other."""
    count = found.size.workspaces
    names = [name for name in ("empty", "hosted", "attached", "closed", "channels") if name in found.states]
    states = [found.states[name] for name in names]
    titles = {"empty": "none", "channels": "bare channels"}

    def row(name: str, figure: Callable[[State], float], digits: int = 1) -> list[str]:
        return [name, *(f"{figure(state):.{digits}f}" for state in states), ""]

    def per_workspace(name: str, figure: Callable[[State], float], digits: int = 1) -> list[str]:
        """Over the same process without workspaces; the last cell compares with the bare channels."""
        added = {}
        for each in names:
            base = found.states["one channel" if each == "channels" else "empty"]
            added[each] = (figure(found.states[each]) - figure(base)) / count
        cells = ["" if each == "empty" else f"{added[each]:.{digits}f}" for each in names]
        bare = added["channels"]
        return [name, *cells, f"{added['attached'] / bare:.2f}" if bare > 0 else ""]

    return Table(
        [f"{count} workspaces", *(titles.get(name, name) for name in names), "attached / bare"],
        [
            row("memory (PSS), MB", lambda state: state.proportional / MEGABYTE),
            row("memory (USS), MB", lambda state: state.unique / MEGABYTE),
            per_workspace("  KB a workspace (USS)", lambda state: state.unique / 1024),
            row("Redis connections", lambda state: state.connections, 0),
            per_workspace("  a workspace", lambda state: state.connections, 2),
            row("Redis memory, MB", lambda state: state.redis_memory / MEGABYTE),
            per_workspace("  KB a workspace", lambda state: state.redis_memory / 1024),
            row("idle CPU, % of a core", lambda state: state.cpu),
            row("  the process", lambda state: state.cpu_process),
            row("  Redis", lambda state: state.cpu_redis),
            row("  Postgres", lambda state: state.cpu_postgres),
        ],
    )


def closing(found: Found) -> str:
    """Say how long it took until all was closed, or why that was not measured."""
    placed = f"All were placed within {found.placed:.1f} s."
    if found.agents_closed is None or found.workspaces_closed is None:
        return (
            f"{placed} That idle ones are closed was NOT measured: settings.py has no {' and no '.join(IDLE_SETTINGS)}."
        )
    return (
        f"{placed} The last agent was detached {found.agents_closed:.0f} s after the last answer (an agent is idle "
        f"after {found.size.agent_idle} s), the last workspace closed after {found.workspaces_closed:.0f} s (idle "
        f"after {found.size.workspace_idle} s)."
    )


def run(size: Size, then: Callable[[Found], None]) -> int:
    """Start a stack with one node, measure, and hand the result on."""
    (port,) = free_ports(1)

    def body(stack: Stack) -> int:
        with ExitStack() as exits:
            channels = Channels(stack)
            exits.callback(channels.stop)
            then(measure(Scene(stack, port), channels, size))
        return 0

    options = {
        "NODE_METRICS_PORT": str(port),
        "AGENT_IDLE_TIMEOUT": str(size.agent_idle),
        "WORKSPACE_IDLE_TIMEOUT": str(size.workspace_idle),
    }
    return with_stack(body, options=options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hosting", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.workspaces} workspaces")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    return run(size, lambda found: print(f"\n{table(found).text()}\n\n{closing(found)}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
