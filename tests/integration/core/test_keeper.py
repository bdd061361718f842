"""A node keeps what it hosts while it can, and stops its work before another node can begin."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
import structlog

from bootstrap import redis_client
from models import utc_now
from models.statuses import WorkspaceState
from models.tenancy import Database
from settings import load_settings
from tests.integration.core.hosting import TTL, OneNode, owner, stopped
from tests.integration.core.world import World, make_world
from tests.support.proxy import Proxy, proxy
from tests.support.waiting import eventually
from workspace.claims import Claims
from workspace.errors import WorkerLost
from workspace.leases import Leases
from workspace.names import LEASES_SINCE

pytestmark = pytest.mark.stack

LONG = 100.0
"""Seconds of a lease where nothing is to lapse while a test looks."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Outside of a node logs are rendered for people, which takes seconds for a traceback, while leases lapse."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def way(own_redis_url: str) -> Iterator[Proxy]:
    """A way to Redis that can be cut."""
    with proxy(own_redis_url) as running:
        yield running


@pytest.fixture
def cuttable(way: Proxy) -> Iterator[redis.Redis]:
    with redis_client(load_settings(), url=way.url) as client:
        yield client


@pytest.fixture
def node(database: Database, old_redis: redis.Redis, cuttable: redis.Redis) -> OneNode:
    """A node whose renewals are made by the test."""
    return OneNode(database, cuttable, ttl=LONG, fence=LONG - 10)


@pytest.fixture
def brief(database: Database, old_redis: redis.Redis, cuttable: redis.Redis) -> Iterator[OneNode]:
    """A node with short times that renews and fences by itself."""
    made = OneNode(database, cuttable)
    made.keeper.start()
    yield made
    made.keeper.stop()


@pytest.fixture
def world(database: Database) -> World:
    return make_world(database, host=None)


def sure_until(node: OneNode, world: World) -> float:
    tenure = node.space(world).tenure
    assert tenure is not None
    return tenure.sure_until


# -- one renewal -------------------------------------------------------------------------------------------------


def test_a_renewal_makes_every_workspace_sure_for_longer(node: OneNode, world: World, old_redis: redis.Redis) -> None:
    worlds = [world, make_world(world.database, host=None)]
    for one in worlds:
        node.open(one)
        old_redis.pexpire(one.key.lease, 1_000)
    before = [sure_until(node, one) for one in worlds]
    began = time.monotonic()
    assert node.keeper.renew()
    for one, earlier in zip(worlds, before, strict=True):
        assert sure_until(node, one) > earlier
        assert began + LONG - 10 <= sure_until(node, one) <= time.monotonic() + LONG - 10
        left = old_redis.pttl(one.key.lease)
        assert isinstance(left, int)
        assert left > LONG * 900


def test_a_workspace_whose_lease_another_has_is_lost_and_the_others_stay(
    node: OneNode, world: World, old_redis: redis.Redis
) -> None:
    kept = make_world(world.database, host=None)
    for one in (world, kept):
        node.open(one)
    slot, other = node.enter(world.agent_id), node.enter(kept.agent_id)
    old_redis.set(world.key.lease, "second")
    assert node.keeper.renew()
    assert node.space(world).tenure is None
    assert (stopped(slot), stopped(other)) == (WorkerLost, None)
    assert owner(old_redis, world) == "second"
    assert node.space(kept).tenure is not None


def test_a_missing_lease_is_taken_again_and_nothing_stops(node: OneNode, world: World, old_redis: redis.Redis) -> None:
    node.open(world)
    slot = node.enter(world.agent_id)
    old_redis.flushdb()
    before = sure_until(node, world)
    assert node.keeper.renew()
    assert owner(old_redis, world) == "first"
    assert sure_until(node, world) > before
    assert stopped(slot) is None


@pytest.mark.parametrize("row", ["buried", "under another epoch"])
def test_a_missing_lease_whose_row_is_no_longer_ours_means_that_it_is_lost(
    node: OneNode, world: World, old_redis: redis.Redis, row: str
) -> None:
    node.open(world)
    slot = node.enter(world.agent_id)
    old_redis.delete(world.key.lease)
    if row == "buried":
        assert Claims(world.database, Leases(old_redis, ttl=LONG), node_id="sweeper").bury(world.key)
    else:
        world.change_workspace(epoch=7)
    assert node.keeper.renew()
    assert node.space(world).tenure is None
    assert stopped(slot) is WorkerLost
    assert owner(old_redis, world) is None, "its next host need not wait for the lease to lapse"


def test_a_workspace_that_is_closed_during_a_renewal_is_free_at_once(
    node: OneNode, world: World, old_redis: redis.Redis
) -> None:
    """The renewal, which began before, writes the lease after the close has deleted it."""
    space = node.open(world)
    renew = node.leases.renew

    def slow(*arguments: object) -> object:
        space.close("asked")
        return renew(*arguments)

    node.leases.renew = slow
    assert node.keeper.renew()
    assert world.workspace().state is WorkspaceState.CLEANED
    assert owner(old_redis, world) is None


def test_a_workspace_that_is_opened_anew_during_a_renewal_keeps_its_lease(
    node: OneNode, world: World, old_redis: redis.Redis
) -> None:
    space = node.open(world)
    renew = node.leases.renew

    def slow(*arguments: object) -> object:
        space.close("asked")
        world.change_workspace(epoch=3)
        space.open()
        old_redis.delete(world.key.lease)
        return renew(*arguments)

    node.leases.renew = slow
    assert node.keeper.renew()
    assert space.tenure is not None
    assert space.tenure.epoch == world.workspace().epoch == 4
    assert owner(old_redis, world) == "first"


# -- without Redis -----------------------------------------------------------------------------------------------


def test_without_redis_what_is_at_work_is_kept_by_way_of_postgres(
    node: OneNode, world: World, way: Proxy, old_redis: redis.Redis
) -> None:
    idle = make_world(world.database, host=None)
    for one in (world, idle):
        node.open(one)
    slot = node.enter(world.agent_id)
    before = [sure_until(node, one) for one in (world, idle)]
    way.cut()
    assert not node.keeper.renew()
    assert sure_until(node, world) > before[0]
    assert sure_until(node, idle) == before[1], "nobody misses it; it is given a rest"
    alive_until = world.workspace().alive_until
    assert alive_until is not None
    assert alive_until > utc_now()
    assert idle.workspace().alive_until is None
    assert stopped(slot) is None
    old_redis.delete(world.key.lease)
    thief = Claims(world.database, Leases(old_redis, ttl=LONG), node_id="thief")
    assert thief.claim(world.key) is None
    way.mend()
    assert node.keeper.renew()
    assert owner(old_redis, world) == "first"


@pytest.mark.parametrize("row", [{"node_id": None}, {"node_id": "second", "epoch": 2}, {"epoch": 2}])
def test_without_redis_what_the_row_gives_to_another_is_lost(
    node: OneNode, world: World, way: Proxy, row: dict[str, object]
) -> None:
    space = node.open(world)
    slot = node.enter(world.agent_id)
    world.change_workspace(**row)
    kept = make_world(world.database, host=None)
    node.open(kept)
    node.enter(kept.agent_id)
    before = sure_until(node, kept)
    way.cut()
    assert not node.keeper.renew()
    assert space.tenure is None
    assert stopped(slot) is WorkerLost
    assert sure_until(node, kept) > before


# -- by itself ---------------------------------------------------------------------------------------------------


def test_a_node_keeps_what_it_hosts_for_longer_than_a_lease_lives(
    brief: OneNode, world: World, old_redis: redis.Redis
) -> None:
    space = brief.open(world)
    slot = brief.enter(world.agent_id)
    tenure = space.tenure
    assert tenure is not None
    seen: list[str | None] = []

    def is_over() -> bool:
        seen.append(owner(old_redis, world))
        return tenure.hosted_seconds > 2 * TTL

    eventually(is_over, "two lifetimes of a lease")
    assert set(seen) == {"first"}
    assert space.tenure is tenure
    assert stopped(slot) is None


def test_work_goes_on_while_redis_is_away_for_longer_than_a_lease_lives(
    brief: OneNode, world: World, way: Proxy, old_redis: redis.Redis
) -> None:
    space = brief.open(world)
    slot = brief.enter(world.agent_id)
    tenure = space.tenure
    assert tenure is not None
    way.cut()
    eventually(lambda: owner(old_redis, world) is None, "the lease has lapsed")
    cut_at = tenure.hosted_seconds
    eventually(lambda: tenure.hosted_seconds > cut_at + TTL, "a lifetime more")
    assert stopped(slot) is None
    assert space.tenure is tenure
    thief = Claims(world.database, Leases(old_redis, ttl=TTL), node_id="thief")
    assert thief.claim(world.key) is None
    assert not thief.bury(world.key)
    way.mend()
    eventually(lambda: owner(old_redis, world) == "first", "the lease is its host's again")
    assert stopped(slot) is None
    assert not tenure.suspended


def test_a_node_that_can_renew_nowhere_stops_its_work_before_the_lease_has_lapsed(
    brief: OneNode, world: World, way: Proxy, old_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = brief.open(world)
    slot = brief.enter(world.agent_id)
    tenure = space.tenure
    assert tenure is not None

    def away(*_: object) -> object:
        raise ConnectionError("no database")

    monkeypatch.setattr(brief.claims, "extend", away)
    way.cut()
    lapses = time.monotonic() + (old_redis.pttl(world.key.lease) or 0) / 1_000
    eventually(lambda: tenure.suspended, "the fence", every=0.005)
    assert time.monotonic() < lapses
    eventually(lambda: stopped(slot) is WorkerLost, "the work is told to stop", within=0.5, every=0.005)
    assert brief.queues.attached() == []
    brief.queues.leave(slot)
    world.accept()
    way.mend()
    eventually(lambda: not tenure.suspended, "nobody took it: it goes on")
    eventually(lambda: len(brief.queues.attached()) == 1, "and so do its agents")
    assert space.tenure is tenure


def test_an_idle_workspace_that_another_took_meanwhile_is_lost_when_redis_is_back(
    brief: OneNode, world: World, way: Proxy, old_redis: redis.Redis
) -> None:
    space = brief.open(world)
    way.cut()
    thief = Claims(world.database, Leases(old_redis, ttl=LONG), node_id="thief")
    eventually(lambda: thief.claim(world.key), "its lease lapses")
    tenure = space.tenure
    assert tenure is None or tenure.suspended, "its host let go of it before"
    way.mend()
    eventually(lambda: space.tenure is None, "it learns that it lost it")
    assert owner(old_redis, world) == "thief"
    assert world.workspace().epoch == 2


def test_a_redis_that_lost_everything_costs_nobody_a_workspace(
    brief: OneNode, world: World, old_redis: redis.Redis
) -> None:
    space = brief.open(world)
    slot = brief.enter(world.agent_id)
    old_redis.flushdb()
    thief = Claims(world.database, Leases(old_redis, ttl=TTL), node_id="thief")
    attempts = 0

    def try_to_steal() -> bool:
        nonlocal attempts
        attempts += 1
        assert thief.claim(world.key) is None
        assert not thief.bury(world.key)
        since = old_redis.get(LEASES_SINCE)
        return isinstance(since, bytes) and time.time() * 1_000 - int(since) > (TTL + 1) * 1_000

    eventually(try_to_steal, "more than a lifetime")
    assert attempts > 10
    assert space.tenure is not None
    assert stopped(slot) is None


def test_the_fence_does_no_reading_or_writing(node: OneNode, world: World, way: Proxy) -> None:
    """Whatever hangs, it does not keep the fence from stopping work."""
    space = node.open(world)
    slot = node.enter(world.agent_id)
    assert space.tenure is not None
    hang = threading.Event()

    def hanging(*_: object) -> Callable[..., object]:
        hang.wait(30)
        raise redis.ConnectionError

    node.leases.renew = hanging
    way.cut()
    node.keeper.start()
    try:
        space.tenure.sure_until = time.monotonic()
        eventually(lambda: stopped(slot) is WorkerLost, "the work is told to stop", within=5)
    finally:
        hang.set()
        node.keeper.stop()


def test_a_keeper_that_is_stopped_ends_the_renewal_in_hand_and_renews_nothing_more(
    node: OneNode, world: World, old_redis: redis.Redis
) -> None:
    node.open(world)
    renew, began, may_go_on = node.leases.renew, threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        began.set()
        assert may_go_on.wait(10)
        return renew(*arguments)

    node.leases.renew = slow
    node.keeper.start()
    assert began.wait(10)
    stopping = threading.Thread(target=node.keeper.stop)
    stopping.start()
    stopping.join(0.3)
    assert stopping.is_alive()
    may_go_on.set()
    stopping.join(10)
    node.claims.release_all()
    assert owner(old_redis, world) is None, "nobody has to wait for it to lapse"
