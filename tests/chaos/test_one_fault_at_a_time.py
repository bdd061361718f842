"""With load on, one thing breaks: nothing that was accepted is lost, done twice, or told wrongly.

`make test` runs the quick faults under a small load, `make chaos` all of them under the full one.
"""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis

from tests.chaos.cluster import Cluster, Member, Ways
from tests.chaos.conftest import Report
from tests.chaos.faults import Fault, Stage
from tests.chaos.inquiry import await_ends, await_telling, gather
from tests.chaos.load import Load
from tests.chaos.scale import Scale
from tests.chaos.verdict import judge
from tests.conftest import MakeUser
from tests.support.faults import answers
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

SPAN = 3.0
"""Seconds that the work begun before a fault takes longer than the fault."""
MORE_USERS = 5
"""How often one more user is asked in until the cluster hosts somebody's workspace."""


@contextmanager
def load_of(make_user: MakeUser, url: str, scale: Scale, seed: int) -> Iterator[Load]:
    load = Load(make_user, url, scale, seed)
    try:
        yield load
    finally:
        load.dismiss()


def victim_of(cluster: Cluster, load: Load, scale: Scale) -> Member:
    """Ask users in until one of the cluster's nodes hosts work, and return the one that hosts most."""
    load.invite(scale.users)
    for _ in range(MORE_USERS):
        victim = cluster.busiest([person.client.subject for person in load.people])
        if victim is not None:
            return victim
        load.invite(1)
    raise AssertionError("the stack's own nodes take every workspace")


def test_nothing_is_lost_doubled_or_untold(
    fault: Fault,
    scale: Scale,
    cluster: Cluster,
    make_user: MakeUser,
    stack: Stack,
    store: redis.Redis,
    standin: Standin,
    report: Report,
) -> None:
    seed = random.randrange(1_000_000)
    eventually(lambda: answers(store), "the stack to be well")
    cluster.fill(scale.own_nodes)
    standin.forget_calls()
    with ExitStack() as opened:
        url, web = _web(fault, cluster, stack, opened)
        load = opened.enter_context(load_of(make_user, url, scale, seed))
        victim = victim_of(cluster, load, scale)
        with load.on():
            time.sleep(scale.warm_up)
            load.post_spanning(fault.lasts + SPAN)
            since = fault.strike(Stage(stack, store, victim, web))
            load.post_everywhere()
            recovered = tuple(load.accepted)
            time.sleep(scale.cool_down)
        await_ends(load)
        await_telling(load)
        evidence = gather(load, standin, fault, logs=cluster.logs(), recovered=recovered, since=since)
    verdict = judge(evidence)
    report.add(fault.name, verdict)
    gaps, losses = sum(reader.gaps for reader in load.readers), sum(reader.losses for reader in load.readers)
    told = f"seed {seed}, {load.refusals} refused, {verdict.whole} seen whole, {gaps} gaps, {losses} streams lost"
    wrong = [*verdict.faults, *load.wrong, *(text for reader in load.readers for text in reader.wrong)]
    if not (fault.ends_the_node or victim.node.is_running):
        wrong.append(f"{victim.node.name} ended")
    assert not wrong, "\n".join([told, *wrong[:40], f"{len(wrong)} in all"])
    assert verdict.whole, "no reader saw a reply from its beginning to its end"


def _web(fault: Fault, cluster: Cluster, stack: Stack, opened: ExitStack) -> tuple[str, Ways | None]:
    """Return the address that clients talk to, and its ways where the fault is to strike them."""
    if not fault.at_the_web:
        return stack.api_url, None
    return opened.enter_context(cluster.web())
