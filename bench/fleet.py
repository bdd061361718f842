"""Many agents on three nodes: how near their limits they work, and whether any goes over one: `python -m bench.fleet`.

Each task takes the model a fixed time, so an agent with n tasks and a limit of k needs at least ceil(n / k) times that,
and all agents together as long as the slowest of them. The limits are checked by the model's server, not by our rows.
"""

import argparse
import asyncio
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench import machine, rows, witness
from bench.client import Line, no_collections, post_all
from bench.report import Table
from bench.rows import Work
from bench.stack import AGENT, program_pids, with_stack
from bench.tenants import several, tenant
from devstack.output import say
from devstack.stack import Stack

NODES = 3
USERS = 10
AGENTS = 5
"""Of each user: with limits up to 5 they stay below what a user may run at once."""
LIMITS = (1, 2, 3, 4, 5)
POSTERS = 16
SEED = 20
WARM_UP = "Hello."
ANSWER_SECONDS = 600.0
HOSTS = "SELECT node_id, count(*) FROM workspaces WHERE node_id IS NOT NULL GROUP BY node_id ORDER BY node_id"


@dataclass(frozen=True)
class Size:
    """How much work there is."""

    tasks: int
    delay: float
    """Seconds that the model needs for each."""


FULL = Size(tasks=2000, delay=2.0)
QUICK = Size(tasks=400, delay=2.0)


@dataclass(frozen=True)
class Found:
    """What the run found."""

    size: Size
    limits: Mapping[str, int]
    """Of the agents, by id."""
    work: Sequence[Work]
    most: Mapping[str, int]
    """Requests at once of each agent, as the model's server saw them."""
    since: datetime
    """The moment before the first message."""
    hosted: Sequence[int]
    """Workspaces of each node."""
    cores: machine.Share

    def agents(self, limit: int) -> list[str]:
        """Return the agents of one limit."""
        return [agent for agent, each in self.limits.items() if each == limit]

    def ideal(self, agents: Sequence[str]) -> float:
        """How long the slowest of these agents needs at best."""
        tasks = Counter(each.agent for each in self.work)
        return max(math.ceil(tasks[agent] / self.limits[agent]) * self.size.delay for agent in agents)

    def use(self, agents: Sequence[str]) -> float:
        """Which share of their slots these agents used while tasks waited."""
        uses = [rows.use([each for each in self.work if each.agent == agent], self.limits[agent]) for agent in agents]
        return sum(each.used for each in uses) / sum(each.available for each in uses)


@dataclass(frozen=True)
class Scene:
    """The agents, and a session for each task."""

    database_url: str
    model_url: str
    limits: dict[str, int]
    first: tuple[tuple[Line, str], ...]
    """A session an agent, and its name."""
    all: tuple[tuple[Line, str], ...]
    """A session a task, and the agent that it is for."""


async def prepare(stack: Stack, size: Size) -> Scene:
    """Make the users with their agents and sessions; who has which limit and which task comes from a fixed seed."""
    chance = random.Random(SEED)
    limit_of = [chance.choice(LIMITS) for _ in range(USERS * AGENTS)]
    tasks = Counter(chance.randrange(USERS * AGENTS) for _ in range(size.tasks))
    limits: dict[str, int] = {}
    first: list[tuple[Line, str]] = []
    lines: list[tuple[Line, str]] = []

    async def make(number: int) -> None:
        async with tenant(stack, f"bench-{number}") as user:
            for agent in range(number, USERS * AGENTS, USERS):
                name = f"{AGENT}-{agent}"
                made = await user.make("/my/agents/", {"name": name, "concurrency_limit": limit_of[agent]})
                limits[made["id"]] = limit_of[agent]
                first.append((await user.session(), name))
                lines.extend([(await user.session(), name) for _ in range(tasks[agent])])

    await several(make, range(USERS))
    chance.shuffle(lines)
    facts = stack.facts()
    return Scene(facts["DATABASE_URL"], facts["MODEL_URL"], limits, tuple(first), tuple(lines))


async def _send(scene: Scene, lines: Sequence[tuple[Line, str]], content: str) -> None:
    requests = [line.post({"target_agent": agent, "content": content}) for line, agent in lines]
    await post_all(lines[0][0].address, requests, POSTERS)
    await rows.all_answered(scene.database_url, list(scene.limits), ANSWER_SECONDS)


def measure(stack: Stack, size: Size) -> Found:
    """Place the workspaces by a first message to each agent, then send everything."""
    say(f"  making {USERS} users with {AGENTS} agents each, and {size.tasks} sessions")
    scene = asyncio.run(prepare(stack, size))
    asyncio.run(_send(scene, scene.first, WARM_UP))
    rows.maintain(scene.database_url)
    witness.reset(scene.model_url)
    say(f"  {size.tasks} tasks of {size.delay:.0f} s")
    programs = program_pids(stack).values()
    before, since = machine.read(programs), datetime.now(UTC)
    with no_collections():
        asyncio.run(_send(scene, scene.all, f"Work. [delay={size.delay}]"))
    cores = before.share(machine.read(programs))
    work = rows.work_since(scene.database_url, since, list(scene.limits))
    return Found(
        size=size,
        limits=scene.limits,
        work=work,
        most=witness.most(scene.model_url),
        since=since,
        hosted=[count for _, count in rows.query(scene.database_url, HOSTS)],
        cores=cores,
    )


def table(found: Found) -> Table:
    """Return the agents by their limit, and all together."""
    groups = [(f"  of limit {limit}", agents) for limit in LIMITS if (agents := found.agents(limit))]
    lines = [_row(found, name, agents) for name, agents in [("all", list(found.limits)), *groups]]
    head = [f"{NODES} nodes, tasks of {found.size.delay:.0f} s", "agents", "tasks", "wall s", "ideal s", "wall / ideal"]
    return Table([*head, "slots in use", "most at once", "limits"], lines)


def _row(found: Found, name: str, agents: Sequence[str]) -> list[str]:
    work = [each for each in found.work if each.agent in agents]
    wall = (max(each.finished for each in work) - found.since).total_seconds()
    ideal = found.ideal(agents)
    over = sum(found.most[agent] > found.limits[agent] for agent in agents)
    return [
        name,
        str(len(agents)),
        str(len(work)),
        f"{wall:.1f}",
        f"{ideal:.1f}",
        f"{wall / ideal:.2f}",
        f"{found.use(agents):.2f}",
        str(max(found.most[agent] for agent in agents)),
        "kept" if not over else f"BROKEN by {over}",
    ]


def facts(found: Found) -> str:
    """Say what else was seen."""
    posted = (max(each.created for each in found.work) - found.since).total_seconds()
    twice = sum(each.attempts > 1 for each in found.work)
    hosted = ", ".join(map(str, found.hosted))
    return (
        f"The last message was accepted after {posted:.0f} s. Workspaces by node: {hosted}. Tasks that ran more than "
        f"once: {twice}. The cores in use, by the bench + by others: {found.cores}."
    )


def run(size: Size, then: Callable[[Found], None]) -> int:
    """Start a stack with three nodes, measure, and hand the result on."""

    def body(stack: Stack) -> int:
        then(measure(stack, size))
        return 0

    return with_stack(body, workers=NODES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.tasks} tasks")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    return run(size, lambda found: print(f"\n{table(found).text()}\n\n{facts(found)}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
