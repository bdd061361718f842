"""The faults, one function each: it breaks something, waits as long as that is to last, and mends it.

Each returns the moment from which recovery counts: the fault's end, or its beginning where nothing is left to end.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from tests.chaos.cluster import Member, Ways
from tests.support.faults import answers, database_pid, redis_pid
from tests.support.stack import Stack
from tests.support.waiting import eventually

CUT = 6.0
"""Seconds without a store that nothing may notice but by waiting: shorter than a node's lease."""
LONG_FREEZE = 12.0
"""Longer than the lease: a node that reaches neither store has to let go of its workspaces by itself."""
HANG = 14.0
"""Longer than the lease: somebody else takes over, and the node that comes back must not interfere."""
RESTART = 30.0
"""Seconds until the supervisor has surely started a program again."""


@dataclass(frozen=True)
class Stage:
    """What a fault can strike."""

    stack: Stack
    store: redis.Redis
    victim: Member
    """The node that hosts most of what is going on."""
    web: Ways | None
    """The ways of the web process that all clients talk to, where the fault is one of the web process."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to break something."""

    name: str
    strike: Callable[[Stage], float]
    lasts: float = 0.0
    """Seconds; work of a little more is begun before it."""
    costs_running_work: bool = False
    """Whether what runs on the victim may fail as `worker_lost`."""
    may_drop_text: bool = False
    """Whether pieces of text may be missing from streams without a node knowing: with the buffer, or with the node."""
    at_the_web: bool = False
    ends_the_node: bool = False
    """Whether the victim's process ends with it; every other fault has to be outlived."""
    is_quick: bool = False
    """Whether it belongs to the short form."""


# -- processes ---------------------------------------------------------------------------------------------------------


def kill_node(stage: Stage) -> float:
    """As when a machine burns."""
    began = time.time()
    stage.victim.node.tell(signal.SIGKILL)
    return began


def end_node(stage: Stage) -> float:
    """As a deployment does."""
    began = time.time()
    stage.victim.node.tell(signal.SIGTERM)
    stage.victim.node.await_end(within=45)
    return began


def hang_node(stage: Stage) -> float:
    """As a machine does that swaps, or whose host moves it."""
    stage.victim.node.tell(signal.SIGSTOP)
    time.sleep(HANG)
    stage.victim.node.tell(signal.SIGCONT)
    return time.time()


def empty_redis(stage: Stage) -> float:
    """As when its only machine is replaced: it comes back with nothing in it."""
    before = redis_pid(stage.store)
    stage.store.set("chaos:canary", "alive")
    began = time.time()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: answers(stage.store), "Redis to come back", within=RESTART)
    assert redis_pid(stage.store) != before
    assert stage.store.get("chaos:canary") is None, "Redis kept its data"
    return began


def restart_postgres(stage: Stage) -> float:
    """A fast shutdown, which ends every connection, as an update of the server does."""
    before = database_pid(stage.stack)
    began = time.time()
    os.kill(before, signal.SIGINT)
    eventually(lambda: _another_database(stage.stack, before), "Postgres to come back", within=RESTART)
    return began


def _another_database(stack: Stack, before: int) -> bool:
    try:
        return database_pid(stack) != before
    except AssertionError:
        return False


# -- networks ----------------------------------------------------------------------------------------------------------


def _away(take: Callable[[Ways], None], ways: Callable[[Stage], Ways], seconds: float) -> Callable[[Stage], float]:
    def strike(stage: Stage) -> float:
        struck = ways(stage)
        take(struck)
        try:
            time.sleep(seconds)
        finally:
            struck.mend()
        return time.time()

    return strike


def _of_victim(stage: Stage) -> Ways:
    return stage.victim.ways


def _of_web(stage: Stage) -> Ways:
    assert stage.web is not None
    return stage.web


def _freeze_both(ways: Ways) -> None:
    ways.redis.freeze()
    ways.postgres.freeze()


FAULTS = (
    Fault(
        name="node killed",
        strike=kill_node,
        costs_running_work=True,
        may_drop_text=True,
        ends_the_node=True,
        is_quick=True,
    ),
    Fault(name="node ended", strike=end_node, ends_the_node=True, is_quick=True),
    Fault(name="node hangs 14 s", strike=hang_node, lasts=HANG, costs_running_work=True, may_drop_text=True),
    Fault(name="Redis emptied", strike=empty_redis, may_drop_text=True, is_quick=True),
    Fault(name="Postgres restarted", strike=restart_postgres),
    Fault(
        name="node without Redis 6 s",
        strike=_away(lambda ways: ways.redis.cut(), _of_victim, CUT),
        lasts=CUT,
    ),
    Fault(
        name="node without Postgres 6 s",
        strike=_away(lambda ways: ways.postgres.cut(), _of_victim, CUT),
        lasts=CUT,
    ),
    Fault(
        name="node's Redis frozen 6 s",
        strike=_away(lambda ways: ways.redis.freeze(), _of_victim, CUT),
        lasts=CUT,
    ),
    Fault(
        name="node's Postgres frozen 6 s",
        strike=_away(lambda ways: ways.postgres.freeze(), _of_victim, CUT),
        lasts=CUT,
    ),
    Fault(
        name="node's stores frozen 12 s",
        strike=_away(_freeze_both, _of_victim, LONG_FREEZE),
        lasts=LONG_FREEZE,
        costs_running_work=True,
        may_drop_text=True,
    ),
    Fault(
        name="API without Redis 6 s",
        strike=_away(lambda ways: ways.redis.cut(), _of_web, CUT),
        lasts=CUT,
        at_the_web=True,
    ),
    Fault(
        name="API without Postgres 6 s",
        strike=_away(lambda ways: ways.postgres.cut(), _of_web, CUT),
        lasts=CUT,
        at_the_web=True,
    ),
)
