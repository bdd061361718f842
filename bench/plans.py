"""How near their critical path plans run, and what a task of one costs: `python -m bench.plans`.

Random graphs of 3 to 25 tasks over five agents, whose limits and the user's cap are out of the way. Each task takes the
model a time of its own. The critical path is taken twice: by the times that the model was told to take, which counts
everything that the system adds, and by the times from each task's start to its end as the rows have them, which leaves
only what lies between one task and the next.

Beside it the same number of direct messages, each as long as a task: what a task of a plan costs more than that.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import redis

from bench import rows, usage
from bench.client import BenchError
from bench.report import Table
from bench.stack import our_processes, with_stack
from devstack import tokens
from devstack.output import say
from devstack.stack import Stack
from orchestrator.plans.critical_path import critical_path
from orchestrator.plans.graph import PlanGraph

SEED = 12
LEAST, MOST = 3, 25
"""Tasks of a plan."""
DEEPEST = 8
"""Levels of a graph; a plan may have ten."""
MOST_NEEDED = 4
"""Tasks that one depends on."""
DELAYS = (0.4, 0.6, 0.8, 1.2, 1.6)
"""Seconds that the model takes for a task."""
AGENTS = tuple(f"agent-{number}" for number in range(5))
LANES = 3
"""Plans at once, each of a user of its own: more would measure the two cores and not the plans."""
ALONE = 20
"""Plans that are sent one after the other, to see what planning takes."""
ANSWER_SECONDS = 300.0
UNBOUND = {"USER_TASK_CAP": "1000"}

TASKS = """
SELECT tasks.run_id, tasks.plan_task_id, tasks.created_at, tasks.started_at, tasks.finished_at, tasks.attempts,
       tasks.status
FROM tasks JOIN runs ON runs.id = tasks.run_id WHERE tasks.run_id::text = ANY(%s)
"""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    plans: int


FULL = Size(plans=200)
QUICK = Size(plans=30)


class Graph(NamedTuple):
    """A plan to run."""

    dependencies: Mapping[str, tuple[str, ...]]
    delays: Mapping[str, float]

    def message(self) -> str:
        """Return a message that the stand-in answers with this plan."""
        tasks = [
            {
                "id": name,
                "agent": AGENTS[number % len(AGENTS)],
                "instruction": f"[delay={self.delays[name]}] [say=done]",
                "depends_on": needed,
                "why_this_agent": "It is free.",
            }
            for number, (name, needed) in enumerate(self.dependencies.items())
        ]
        plan = json.dumps({"rationale": "A random graph.", "tasks": tasks})
        return f"Do all of it. [plan={plan}]"


class TaskRow(NamedTuple):
    """One task as its row tells it."""

    created: datetime
    started: datetime
    finished: datetime
    attempts: int


@dataclass(frozen=True)
class PlanRun:
    """One plan that ran."""

    graph: Graph
    tasks: Mapping[str, TaskRow]
    planning: float
    """Seconds of the planning task, the model's answer included."""

    @property
    def makespan(self) -> float:
        """Seconds from the first start of a planned task to the last end of one."""
        started, finished = (
            (each.started for each in self.tasks.values()),
            (each.finished for each in self.tasks.values()),
        )
        return (max(finished) - min(started)).total_seconds()

    def over_told(self) -> float:
        """Return the makespan by the critical path of what the model was told."""
        return self.makespan / critical_path(PlanGraph(self.graph.dependencies), self.graph.delays).length

    def over_measured(self) -> float:
        """Return the makespan by the critical path of what each task took."""
        took = {name: (each.finished - each.started).total_seconds() for name, each in self.tasks.items()}
        return self.makespan / critical_path(PlanGraph(self.graph.dependencies), took).length

    def disorder(self) -> list[str]:
        """Return the tasks that began before one that they depend on had ended."""
        return [
            name
            for name, needed in self.graph.dependencies.items()
            if any(self.tasks[each].finished > self.tasks[name].started for each in needed)
        ]


@dataclass(frozen=True)
class Cost:
    """What a number of tasks used."""

    tasks: int
    cpu: float
    redis: int
    published: int
    commits: int


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    runs: Sequence[PlanRun]
    alone: Sequence[PlanRun]
    """One after the other, with nothing beside them."""
    plans: Cost
    direct: Cost
    model: Sequence[float]
    """Seconds that the model's server takes to answer with a plan."""


def graphs(count: int) -> list[Graph]:
    """Return random graphs, the same each time."""
    chance = random.Random(SEED)
    return [_graph(chance) for _ in range(count)]


def _graph(chance: random.Random) -> Graph:
    number = chance.randint(LEAST, MOST)
    levels = sorted(chance.randrange(min(number, DEEPEST)) for _ in range(number))
    names = [f"t{each}" for each in range(number)]
    dependencies: dict[str, tuple[str, ...]] = {}
    for place, (name, level) in enumerate(zip(names, levels, strict=True)):
        earlier = [names[each] for each in range(place) if levels[each] < level]
        dependencies[name] = tuple(chance.sample(earlier, min(len(earlier), chance.randint(0, MOST_NEEDED))))
    return Graph(dependencies, {name: chance.choice(DELAYS) for name in names})


# -- running it ----------------------------------------------------------------------------------------------


class Lane:
    """One user who sends one message after the other."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        for name in AGENTS:
            # Without memory: what it finds in a hundred plans would be in the prompts of the next.
            _ok(client.post("/my/agents/", json={"name": name, "concurrency_limit": 50, "memory": {"enabled": False}}))
        _ok(client.put("/my/orchestrator/config/", json={"plan_approval": "auto", "cache_plans": False}))
        # A session that every workspace has had: its host is there, and its queues are consumed.
        for name in AGENTS:
            self.send({"content": "[say=here]", "target_agent": name})

    def send(self, body: Mapping[str, Any]) -> str:
        """Send a message in a session of its own and wait for its end; returns the run's id.

        Raises:
            BenchError: it did not complete.
        """
        session = _ok(self._client.post("/my/chat/sessions/", json={})).json()["id"]
        accepted = _ok(self._client.post(f"/my/chat/{session}/message/", json=body)).json()
        with self._client.stream("GET", accepted["events_url"]) as response:
            for line in response.iter_lines():
                event = json.loads(line) if line else {}
                match event.get("event_type"):
                    case "run_completed" if event["payload"]["status"] == "completed":
                        return str(accepted["run_id"])
                    case "run_completed" | "run_failed" | "run_cancelled":
                        raise BenchError(f"a run ended otherwise: {json.dumps(event['payload'])[:500]}")
        raise BenchError("a stream ended before its run")


def _ok(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise BenchError(f"{response.request.url} answered {response.status_code}: {response.text[:500]}")
    return response


@contextmanager
def _lanes(stack: Stack) -> Iterator[list[Lane]]:
    clients = [
        httpx.Client(
            base_url=stack.facts()["API_URL"],
            headers={"Authorization": f"Bearer {tokens.sign(stack.plan.signing, f'bench-plans-{number}')}"},
            timeout=ANSWER_SECONDS,
            trust_env=False,
        )
        for number in range(LANES)
    ]
    try:
        yield [Lane(client) for client in clients]
    finally:
        for client in clients:
            client.close()


def _share(lanes: Sequence[Lane], bodies: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Send all messages, a lane the next one as soon as its last has its answer; returns the runs' ids in order."""
    left = iter(enumerate(bodies))
    runs: dict[int, str] = {}

    def work(lane: Lane) -> None:
        for number, body in left:
            runs[number] = lane.send(body)
            if (number + 1) % 20 == 0:
                say(f"  {name} {number + 1} of {len(bodies)}")

    with ThreadPoolExecutor(len(lanes)) as threads:
        for _ in threads.map(work, lanes):
            pass
    return [runs[number] for number in range(len(bodies))]


def measure(stack: Stack, size: Size) -> Found:
    """Run all plans, and as many direct messages as they have tasks, up to a bound."""
    wanted = graphs(size.plans)
    delays = [delay for graph in wanted for delay in graph.delays.values()]
    direct = [
        {"content": f"[delay={delay}] [say=done]", "target_agent": AGENTS[number % len(AGENTS)]}
        for number, delay in enumerate(delays[: size.plans])
    ]
    url = stack.facts()["DATABASE_URL"]
    with _lanes(stack) as lanes:
        _share(lanes, [{"content": graph.message()} for graph in graphs(LANES)], "warming up: plan")
        rows.maintain(url)
        ids, plans = _costing(stack, lambda: _share(lanes, [{"content": each.message()} for each in wanted], "plan"))
        _, messages = _costing(stack, lambda: _share(lanes, direct, "direct message"))
        quick = [graph._replace(delays=dict.fromkeys(graph.delays, 0.0)) for graph in wanted[:ALONE]]
        alone = _share(lanes[:1], [{"content": graph.message()} for graph in quick], "plan alone:")
    runs = _runs(url, dict(zip(ids, wanted, strict=True)))
    one_by_one = _runs(url, dict(zip(alone, quick, strict=True)))
    return Found(runs, one_by_one, plans(len(delays)), messages(len(direct)), _model(stack, wanted[: 2 * LANES]))


def _costing(stack: Stack, work: Callable[[], list[str]]) -> tuple[list[str], Callable[[int], Cost]]:
    facts = stack.facts()
    processes = our_processes(stack)
    with redis.Redis.from_url(facts["REDIS_URL"]) as client:
        cpu, commands = usage.read(processes), usage.redis_commands(client)
        commits = usage.commits(facts["DATABASE_URL"])
        done = work()
        used = usage.used(cpu, usage.read(processes)).total
        commands = usage.difference(commands, usage.redis_commands(client))
        committed = usage.difference(commits, usage.commits(facts["DATABASE_URL"]))
    return done, lambda tasks: Cost(
        tasks, used, sum(commands.values()), commands.get("lpush", 0), committed.get(processes.database, 0)
    )


def _runs(url: str, wanted: Mapping[str, Graph]) -> list[PlanRun]:
    found: dict[str, dict[str, TaskRow]] = {run: {} for run in wanted}
    for run, name, created, started, finished, attempts, status in rows.query(url, TASKS, list(wanted)):
        if status != "completed":
            raise BenchError(f"task {name} of run {run} is {status}")
        found[str(UUID(str(run)))][name] = TaskRow(created, started, finished, attempts)
    return [_run(graph, found[run]) for run, graph in wanted.items()]


def _run(graph: Graph, tasks: Mapping[str, TaskRow]) -> PlanRun:
    planned = {name: task for name, task in tasks.items() if not name.startswith("_")}
    if planned.keys() != graph.dependencies.keys():
        raise BenchError(f"a plan of {len(graph.dependencies)} tasks has {len(planned)} rows")
    planning = tasks["_planning"]
    return PlanRun(graph, planned, (planning.finished - planning.started).total_seconds())


def _model(stack: Stack, wanted: Sequence[Graph]) -> list[float]:
    """Ask the model's server for plans with nothing in between."""
    url = f"{stack.facts()['MODEL_URL']}/chat/completions"
    took = []
    form = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object"}}}
    with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS) as client:
        for graph in [*wanted] * 5:
            body = {
                "model": "stand-in",
                "stream": True,
                "response_format": form,
                "messages": [{"role": "user", "content": graph.message()}],
            }
            began = time.perf_counter()
            _ok(client.post(url, json=body))
            took.append(time.perf_counter() - began)
    return took


# -- telling it ----------------------------------------------------------------------------------------------


def table(found: Found) -> Table:
    """Return how near their critical path the plans ran."""
    lines = [
        ("by what the model was told to take", [run.over_told() for run in found.runs]),
        ("by what each task took", [run.over_measured() for run in found.runs]),
    ]
    head = [f"{len(found.runs)} plans: makespan / critical path", "p50", "p95", "most"]
    return Table(
        head,
        [
            [name, *(f"{usage.percentile(each, percent):.3f}" for percent in (50, 95)), f"{max(each):.3f}"]
            for name, each in lines
        ],
    )


def cost_table(found: Found) -> Table:
    """Return what a task of a plan costs beside a direct message."""

    def line(name: str, cost: Cost) -> list[str]:
        each = (cost.cpu * 1000, cost.redis, cost.published, cost.commits)
        return [name, str(cost.tasks), *(f"{value / cost.tasks:.1f}" for value in each)]

    head = ["for each", "tasks", "CPU ms", "Redis commands", "Celery messages", "commits"]
    return Table(head, [line("direct message", found.direct), line("task of a plan", found.plans)])


def facts(found: Found) -> str:
    """Say what else was seen."""
    sizes = Counter(len(run.tasks) for run in found.runs)
    twice = sum(task.attempts > 1 for run in found.runs for task in run.tasks.values())
    disorder = sum(len(run.disorder()) for run in found.runs)
    planning = [run.planning * 1000 for run in found.alone]
    model = usage.percentile([each * 1000 for each in found.model], 50)
    return (
        f"Plans of {min(sizes)} to {max(sizes)} tasks, {sum(sizes.elements())} in all. Tasks that began before what "
        f"they depend on had ended: {disorder}. Tasks that ran more than once: {twice}. Planning and launching "
        f"one with nothing beside it took {usage.percentile(planning, 50):.1f} ms in the median and "
        f"{usage.percentile(planning, 95):.1f} ms at 95 %, "
        f"of which the model's server takes {model:.1f} ms."
    )


def run(size: Size, then: Callable[[Found], None]) -> int:
    """Start a stack, measure, and hand the result on."""

    def body(stack: Stack) -> int:
        then(measure(stack, size))
        return 0

    return with_stack(body, options=UNBOUND)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.plans", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.plans} plans")
    options = parser.parse_args(arguments)

    def show(found: Found) -> None:
        print(f"\n{table(found).text()}\n\n{cost_table(found).text()}\n\n{facts(found)}", flush=True)

    return run(QUICK if options.quick else FULL, show)


if __name__ == "__main__":
    sys.exit(main())
