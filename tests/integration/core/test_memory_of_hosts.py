"""Memory goes with the lease: one node at a time has a workspace's collections open, and that is its host."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import redis

from devstack.directory import ROOT
from models import new_id
from models.tenancy import Database
from tests.integration.core.hosting import TTL, OneNode
from tests.integration.core.world import World, make_world
from tests.support.memories import SPACE, point
from tests.support.waiting import eventually
from workspace.errors import MemoryUnavailable
from workspace.hosted_space import LETTING_GO
from workspace.manager import WorkerSpaceManager
from workspace.memory.memories import EVERYTHING
from workspace.names import Collection, WorkspaceKey

pytestmark = pytest.mark.stack


@pytest.fixture
def world(database: Database) -> World:
    """A workspace that nobody hosts."""
    return make_world(database, host=None)


@pytest.fixture
def nodes(database: Database, old_redis: redis.Redis, tmp_path: Path) -> Iterator[tuple[OneNode, OneNode]]:
    """Two nodes that see one data directory, each with an engine of its own."""
    with ExitStack() as parts:
        made = [OneNode(database, old_redis, name, settings={"data_dir": tmp_path}) for name in ("first", "second")]
        for node in made:
            parts.callback(node.memories.close)
            # As it is on a node that has been at work for a while: the start of a process is not measured here.
            node.memories.store.check()
        yield made[0], made[1]


def mine(world: World) -> Collection:
    return Collection(world.key, "helper", world.agent_id)


def remember(node: OneNode, world: World, number: int) -> None:
    node.memories.store.upsert(mine(world), SPACE, [point(number)])


def count(node: OneNode, world: World) -> int | None:
    """What a node finds; `None` while another one has it open."""
    try:
        return node.memories.store.count(mine(world), EVERYTHING)
    except MemoryUnavailable:
        return None


def test_a_closed_workspace_has_let_go_of_its_memory_when_its_claim_is_given_away(
    world: World, nodes: tuple[OneNode, OneNode]
) -> None:
    first, second = nodes
    for turn, (host, heir) in enumerate([(first, second), (second, first)], 1):
        space = host.open(world)
        remember(host, world, turn)
        assert count(heir, world) is None
        assert space.close("idle")
        assert heir.space(world).open()
        assert count(heir, world) == turn
        assert heir.space(world).close("idle")


def test_a_workspace_that_is_lost_lets_go_of_its_memory_for_the_new_host(
    world: World, nodes: tuple[OneNode, OneNode]
) -> None:
    first, second = nodes
    first.open(world)
    remember(first, world, 1)
    first.client.set(world.key.lease, "second", px=60_000)  # it was silent for longer than a lease lives
    assert second.space(world).open()
    assert count(second, world) is None
    first.keeper.renew()
    assert first.space(world).tenure is None
    eventually(lambda: count(second, world) == 1, "the memory at its new host")


def test_a_workspace_that_is_suspended_lets_go_of_its_memory_and_has_it_again_when_it_goes_on(
    world: World, nodes: tuple[OneNode, OneNode]
) -> None:
    first, second = nodes
    space = first.open(world)
    remember(first, world, 1)
    space.suspend()
    eventually(lambda: count(second, world) == 1, "the memory to be free")
    second.memories.store.release(world.key)
    assert space.renewed(time.monotonic() + 60)
    assert count(first, world) == 1


def test_a_node_that_hands_over_has_let_go_of_its_memories_when_the_claims_are_given_away(
    database: Database, nodes: tuple[OneNode, OneNode]
) -> None:
    first, second = nodes
    worlds = [make_world(database, host=None) for _ in range(3)]
    manager = _manager_of(first)
    for each in worlds:
        assert manager.get_or_create(each.key).initialize()
        remember(first, each, 0)
    kept = worlds[0]
    manager.cleanup_all(sparing=lambda key: key == kept.key)
    assert [count(second, each) for each in worlds] == [None, 1, 1]
    manager.cleanup_all()
    assert count(second, kept) == 1


def _manager_of(node: OneNode) -> WorkerSpaceManager:
    from typing import Any, cast

    from workspace.space import SpaceServices

    fields = dict.fromkeys(SpaceServices._fields, cast(Any, None))
    return WorkerSpaceManager(SpaceServices(**fields | {"host": node.services}))


def test_an_engine_that_hangs_keeps_no_workspace_from_being_closed(
    world: World, nodes: tuple[OneNode, OneNode]
) -> None:
    first, second = nodes
    space = first.open(world)
    remember(first, world, 1)
    lost = first.open(make_world(world.database, host=None))
    pids = first.memories.store.pids  # type: ignore[attr-defined]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert space.close("idle")
        assert time.monotonic() - began < LETTING_GO + 3
        began = time.monotonic()
        lost.lose()  # as the keeper's thread does, which has no time at all
        assert time.monotonic() - began < LETTING_GO
        assert second.space(world).open()
        assert count(second, world) is None
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: count(second, world) == 1, "the memory at its new host")


def test_a_host_that_was_killed_leaves_its_successor_all_that_was_confirmed(
    world: World, nodes: tuple[OneNode, OneNode], own_redis_url: str, tmp_path: Path
) -> None:
    url = world.database.engine.url.render_as_string(hide_password=False)
    ids = [str(world.key.user_id), str(world.key.project_id), str(world.agent_id)]
    command = [sys.executable, "-m", "tests.support.memory_host", url, own_redis_url, str(tmp_path), *ids]
    first, _ = nodes
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as host:
        assert host.stdout is not None
        lines = [host.stdout.readline() for _ in range(20)]
        assert not first.space(world).open(), "it is hosted"
        assert count(first, world) is None
        host.kill()
        lines += host.stdout.readlines()
    confirmed = [int(line) for line in lines if line.endswith(b"\n")]
    assert len(confirmed) >= 20
    eventually(lambda: first.space(world).open(), "the lease to lapse", within=TTL + 10)
    assert first.recovered == [world.key]
    found = eventually(lambda: count(first, world), "the memory")
    assert found is not None
    assert found >= len(confirmed)


def test_a_workspace_is_checked_when_a_node_becomes_its_host_and_not_when_it_is_already(
    world: World, nodes: tuple[OneNode, OneNode]
) -> None:
    first, _ = nodes
    space = first.open(world)
    assert first.checked == [world.key]
    assert space.open()
    assert first.checked == [world.key]


def test_releases_at_the_same_time_do_not_wait_for_each_other_for_ever(nodes: tuple[OneNode, OneNode]) -> None:
    first, _ = nodes
    keys = [WorkspaceKey(new_id(), new_id()) for _ in range(20)]
    done = [threading.Thread(target=partial(first.memories.release, key, within=5)) for key in keys]
    for thread in done:
        thread.start()
    for thread in done:
        thread.join(10)
        assert not thread.is_alive()
