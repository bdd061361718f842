"""With plans in flight, one thing breaks: every run ends, every task has one end, and no task is done twice.

`make test` runs the quick faults with a few plans, `make chaos` all of them with many.
"""

import random
import time
from collections import Counter

import pytest
import redis

from tests.chaos.cluster import Cluster, Member
from tests.chaos.conftest import Report
from tests.chaos.faults import Fault, Stage
from tests.chaos.plans import Flights, served, wrong
from tests.chaos.scale import Scale
from tests.conftest import MakeUser
from tests.support.faults import answers
from tests.support.persistence import RECOVERY
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

MORE_USERS = 5
"""How often one more user is asked in until the cluster hosts somebody's workspace."""


def flights_of(
    cluster: Cluster, make_user: MakeUser, standin: Standin, scale: Scale, seed: int
) -> tuple[Flights, Member]:
    """Let plans fly, of which some are at work on a node of the cluster; returns them and that node."""
    flights = Flights([make_user() for _ in range(scale.users)], standin, seed)
    flights.launch(scale.plans)
    for _ in range(MORE_USERS):
        flights.await_running()
        victim = cluster.busiest([user.subject for user in flights.users])
        if victim is not None:
            return flights, victim
        more = Flights([make_user()], standin, seed + 1)
        more.launch(scale.plans)
        flights.users, flights.all = [*more.users], [*flights.all, *more.all]
    raise AssertionError("the stack's own nodes take every workspace")


def test_every_plan_ends_and_no_task_is_done_twice(
    fault: Fault,
    scale: Scale,
    cluster: Cluster,
    make_user: MakeUser,
    stack: Stack,
    store: redis.Redis,
    standin: Standin,
    report: Report,
) -> None:
    if fault.at_the_web:
        pytest.skip("no web process has a part in a plan that runs")
    seed = random.randrange(1_000_000)
    eventually(lambda: answers(store), "the stack to be well")
    cluster.fill(scale.own_nodes)
    standin.forget_calls()
    flights, victim = flights_of(cluster, make_user, standin, scale, seed)
    since = fault.strike(Stage(stack, store, victim, None))
    flights.await_ends(within=RECOVERY)
    took = time.time() - since
    calls = served(standin)
    found = [
        f"run {one.run_id}: {each}"
        for one in flights.all
        for each in wrong(one, calls, may_lose=fault.costs_running_work)
    ]
    if not (fault.ends_the_node or victim.node.is_running):
        found.append(f"{victim.node.name} ended")
    ends = Counter(one.user.run(one.run_id)["status"] for one in flights.all)
    told = ", ".join(f"{number} {status}" for status, number in sorted(ends.items()))
    report.note(f"plans in flight, {fault.name}: {len(flights.all)} plans ({told}), all ended {took:.1f} s after it")
    assert not found, "\n".join([f"seed {seed}", *found[:40], f"{len(found)} in all"])
