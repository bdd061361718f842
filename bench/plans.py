"""How near their critical path plans run, and what a task of one costs: `python -m bench.plans`.

Random graphs of 3 to 25 tasks over five agents, whose limits and the user's cap are out of the way. Each task takes the
model a time of its own. The critical path is taken twice: by the times that the model was told to take, which counts
everything that the system adds, and by the times from each task's start to its end as the rows have them, which leaves
only what lies between one task and the next.

Beside it the same number of direct messages, each as long as a task: what a task of a plan costs more than that.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import httpx
import redis

from bench import rows, usage
from bench.client import BenchError
from bench.plan_figures import Cost, Found, PlanRun, TaskRow, cost_table, facts, table
from bench.plan_graphs import AGENTS, Graph, graphs
from bench.plan_lanes import ANSWER_SECONDS, LANES, lanes, ok, share
from bench.stack import our_processes, with_stack
from devstack.stack import Stack

ALONE = 20
"""Plans that are sent one after the other, to see what planning takes."""
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


def measure(stack: Stack, size: Size) -> Found:
    """Run all plans, and as many direct messages as they have tasks, up to a bound."""
    wanted = graphs(size.plans)
    delays = [delay for graph in wanted for delay in graph.delays.values()]
    direct = [
        {"content": f"[delay={delay}] [say=done]", "target_agent": AGENTS[number % len(AGENTS)]}
        for number, delay in enumerate(delays[: size.plans])
    ]
    url = stack.facts()["DATABASE_URL"]
    with lanes(stack) as users:
        share(users, [{"content": graph.message()} for graph in graphs(LANES)], "warming up: plan")
        rows.maintain(url)
        ids, plans = _costing(stack, lambda: share(users, [{"content": each.message()} for each in wanted], "plan"))
        _, messages = _costing(stack, lambda: share(users, direct, "direct message"))
        quick = [graph._replace(delays=dict.fromkeys(graph.delays, 0.0)) for graph in wanted[:ALONE]]
        alone = share(users[:1], [{"content": graph.message()} for graph in quick], "plan alone:")
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
            ok(client.post(url, json=body))
            took.append(time.perf_counter() - began)
    return took


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
