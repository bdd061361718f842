"""Plans in flight: users whose messages become graphs of tasks, and what must hold of them after a fault."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from tests.support.api import FINAL, ApiClient, Json
from tests.support.standin import Standin
from tests.support.waiting import eventually

AGENTS = ("ada", "ben", "cleo", "dan")
DELAYS = (0.3, 0.6, 0.9, 1.5)
WITHOUT_RESULT = {"failed", "skipped", "cancelled"}


@dataclass(frozen=True)
class Flight:
    """A plan that was accepted."""

    user: ApiClient
    run_id: str
    tag: str
    dependencies: Mapping[str, Sequence[str]]


class Flights:
    """The plans of a few users."""

    def __init__(self, users: Sequence[ApiClient], standin: Standin, seed: int) -> None:
        self.users = users
        self._standin = standin
        self._dice = random.Random(seed)
        self.all: list[Flight] = []
        for user in users:
            for name in AGENTS:
                # Without memory: what it finds would put one task's words into the prompts of others.
                user.make_agent(name, concurrency_limit=2, memory={"enabled": False})
            user.put("orchestrator/config/", {"plan_approval": "auto"}).raise_for_status()

    def launch(self, number: int) -> None:
        """Send so many messages for each user, each in a session of its own."""
        wanted = [(user, *self._plan()) for user in self.users for _ in range(number)]
        self._standin.rules(*({"match": f"Plan {tag}\\.", "plan": plan} for _, tag, plan in wanted))
        with ThreadPoolExecutor(4) as threads:
            self.all += threads.map(lambda one: _launch(*one), wanted)

    def _plan(self) -> tuple[str, Json]:
        """Return a random plan, and the word by which its tasks' model calls are known."""
        tag = uuid4().hex[:10]
        names = [f"t{number}" for number in range(self._dice.randint(4, 8))]
        tasks = [
            {
                "id": name,
                "agent": self._dice.choice(AGENTS),
                "instruction": f"Do {tag}-{name}. [delay={self._dice.choice(DELAYS)}] [say=done {name}]",
                "depends_on": self._dice.sample(names[:place], min(place, self._dice.randint(0, 3))),
                "why_this_agent": "By lot.",
            }
            for place, name in enumerate(names)
        ]
        return tag, {"rationale": "A random graph.", "tasks": tasks}

    def await_running(self) -> None:
        """Wait until tasks of a plan of each user run."""
        for user in self.users:
            mine = [flight for flight in self.all if flight.user is user]
            eventually(lambda mine=mine: any(_runs(flight) for flight in mine), "tasks of a plan to run")

    def await_ends(self, within: float) -> None:
        """Wait until all runs have ended."""
        for flight in self.all:
            eventually(lambda flight=flight: _has_ended(flight), f"run {flight.run_id} to end", within=within)


def _launch(user: ApiClient, tag: str, plan: Json) -> Flight:
    session = user.make_session()["id"]
    answer = user.post(f"chat/{session}/message/", {"content": f"Plan {tag}."})
    assert answer.status_code == 202, answer.text
    return Flight(user, answer.json()["run_id"], tag, {task["id"]: task["depends_on"] for task in plan["tasks"]})


def _runs(flight: Flight) -> bool:
    return any(task["status"] == "running" and task["agent_id"] for task in flight.user.run(flight.run_id)["tasks"])


def _has_ended(flight: Flight) -> bool:
    try:
        answer = flight.user.get(f"runs/{flight.run_id}/")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["status"] in FINAL


def served(standin: Standin) -> Counter[str]:
    """Return by task how many of its model calls were answered to their end: `{tag}-{name}`."""
    found: Counter[str] = Counter()
    for request in standin.calls():
        text = request["body"]["messages"][-1]["content"] if request["served"] else ""
        if "response_format" not in request["body"] and "Do " in text:
            found[text.rpartition("Do ")[2].partition(".")[0]] += 1
    return found


def wrong(flight: Flight, calls: Mapping[str, int], *, may_lose: bool) -> Iterator[str]:
    """Yield what must not be of a run that has ended.

    Args:
        calls: model calls that were answered to their end, by task.
        may_lose: whether the fault may fail what ran where it struck.
    """
    run = flight.user.run(flight.run_id)
    rows: dict[str, Json] = {task["plan_task_id"]: task for task in run["tasks"]}
    statuses = {name: rows[name]["status"] if name in rows else "missing" for name in flight.dependencies}
    for name, status in statuses.items():
        yield from _wrong_of(name, status, rows.get(name, {}), flight, statuses, may_lose=may_lose)
        if calls.get(f"{flight.tag}-{name}", 0) > 1:
            yield f"{name} was answered {calls[f'{flight.tag}-{name}']} times by the model"
    expected = _expected(statuses)
    if run["status"] != expected:
        yield f"the run is {run['status']} and not {expected}: {statuses}, {run['error']}"
    told = {each["id"]: each["status"] for each in (run["outcome"] or {"tasks": []})["tasks"]}
    if told != statuses:
        yield f"its outcome tells {told} and not {statuses}"


def _wrong_of(
    name: str, status: str, row: Mapping[str, Any], flight: Flight, statuses: Mapping[str, str], *, may_lose: bool
) -> Iterator[str]:
    hindered = any(statuses[each] in WITHOUT_RESULT for each in flight.dependencies[name])
    match status:
        case "completed":
            if hindered:
                yield f"{name} is completed without what it depends on"
            if row["result"] != f"done {name}":
                yield f"{name} came to {row['result']!r}"
        case "skipped":
            if not hindered:
                yield f"{name} is skipped although nothing hindered it"
        case "failed":
            if not may_lose or row["error"]["error_code"] != "worker_lost":
                yield f"{name} failed: {row['error']}"
        case _:
            yield f"{name} is {status}"


def _expected(statuses: Mapping[str, str]) -> str:
    found = set(statuses.values())
    if found == {"completed"}:
        return "completed"
    return "partial" if "completed" in found else "failed"
