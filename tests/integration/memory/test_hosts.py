"""Hosts that are asked: how they come, go, and lose the broker, and what is left on the queues meanwhile."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from os import environ
from uuid import UUID

import pytest
from sqlalchemy import select

from devstack.directory import ROOT
from models import Workspace
from tests.integration.core.world import World
from tests.integration.memory.asker import Asker
from tests.integration.runs.own_system import OwnSystem
from tests.support.memories import memory
from tests.support.waiting import eventually
from workspace.broadcast import Broadcaster, Change
from workspace.errors import MemoryUnavailable
from workspace.memory.asking import PATIENCE
from workspace.names import WorkspaceKey
from workspace.request_queue import KEPT, MOST_WAITING

pytestmark = pytest.mark.stack

SLACK = 3.0
"""Seconds that a busy machine may add."""


@pytest.fixture
def world(other_asker: Asker) -> World:
    return other_asker.world()


@pytest.fixture(scope="module")
def started() -> Iterator[ExitStack]:
    """Nodes that were started in place of those that a test has killed."""
    with ExitStack() as started:
        yield started


@pytest.fixture(autouse=True)
def one_node(fragile: OwnSystem, started: ExitStack) -> None:
    if not living(fragile):
        started.enter_context(fragile.node())


@pytest.fixture
def two_nodes(fragile: OwnSystem, one_node: None, started: ExitStack) -> None:
    if living(fragile) < 2:
        started.enter_context(fragile.node())


def living(fragile: OwnSystem) -> int:
    return sum(process.poll() is None for process in fragile.nodes.values())


def answered(asker: Asker, world: World) -> bool:
    try:
        return asker.memory(world).count() == 1
    except MemoryUnavailable:
        return False


def host(fragile: OwnSystem, world: World) -> "subprocess.Popen[bytes]":
    """The process that hosts a workspace."""
    node_id = world.workspace().node_id
    assert node_id is not None
    return fragile.nodes[node_id.split(":")[0]]


def said(fragile: OwnSystem, process: "subprocess.Popen[bytes]", event: str) -> bool:
    """Whether a node's log has an event."""
    (name,) = [name for name, each in fragile.nodes.items() if each is process]
    return event in (fragile.directory / f"{name}.log").read_text()


def test_the_next_host_answers_when_one_is_lost(
    fragile: OwnSystem, other_asker: Asker, world: World, two_nodes: None
) -> None:
    mine = other_asker.memory(world)
    mine.remember([memory()])
    lost = world.workspace().node_id
    process = host(fragile, world)
    process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(MemoryUnavailable):
            mine.count()
        assert time.monotonic() - began < PATIENCE + SLACK
        process.send_signal(signal.SIGKILL)
        eventually(lambda: answered(other_asker, world), "the next host", within=40)
    finally:
        process.send_signal(signal.SIGKILL)
    assert world.workspace().node_id not in {None, lost}
    assert other_asker.replies() == []


def test_a_host_that_was_stopped_carries_out_nothing_that_it_finds_when_it_wakes(
    fragile: OwnSystem, other_asker: Asker, world: World, two_nodes: None
) -> None:
    """What was asked while it slept has no use any more, and the workspace may be another node's."""
    mine = other_asker.memory(world)
    mine.remember([memory()])
    process = host(fragile, world)
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(MemoryUnavailable):
            mine.clear()
        process.send_signal(signal.SIGCONT)
        eventually(lambda: not other_asker.broker.exists(world.key.requests_queue), "somebody to take the request")
        eventually(lambda: said(fragile, process, "node_was_stopped"), "it to wake")
    finally:
        process.send_signal(signal.SIGKILL)
    eventually(lambda: answered(other_asker, world), "the next host", within=40)
    assert mine.count() == 1


def test_a_node_that_lost_the_broker_answers_again(other_asker: Asker, world: World) -> None:
    mine = other_asker.memory(world)
    mine.remember([memory()])
    other_asker.broker.client_kill_filter(_type="normal", skipme=True)
    eventually(lambda: answered(other_asker, world), "the same host", within=40)
    assert mine.count() == 1


def test_a_workspace_that_was_closed_is_opened_by_the_next_request(
    fragile: OwnSystem, other_asker: Asker, world: World
) -> None:
    mine = other_asker.memory(world)
    mine.remember([memory()])
    Broadcaster(other_asker.client).tell(Change.WORKSPACE_CLOSING, world.key)
    eventually(lambda: world.workspace().node_id is None, "it to be closed")
    assert mine.count() == 1
    assert world.workspace().node_id is not None


def test_a_workspace_that_was_reset_answers_soon(other_asker: Asker, world: World) -> None:
    mine = other_asker.memory(world)
    mine.remember([memory()])
    epoch = world.workspace().epoch
    world.change_workspace(epoch=epoch + 1)
    Broadcaster(other_asker.client).tell(Change.WORKSPACE_RESET, world.key)
    eventually(lambda: answered(other_asker, world), "it to answer")
    assert mine.count() == 1


def test_many_ask_many_at_once(other_asker: Asker) -> None:
    worlds = [other_asker.world() for _ in range(8)]
    for world in worlds:
        other_asker.memory(world).remember([memory()])
    with ThreadPoolExecutor(32) as threads:
        counts = list(threads.map(lambda world: other_asker.memory(world).count(), worlds * 20))
    assert counts == [1] * 160
    assert other_asker.replies() == []


def test_what_nobody_takes_does_not_pile_up(other_asker: Asker, world: World) -> None:
    name = world.key.requests_queue
    for number in range(MOST_WAITING + 30):
        assert other_asker.queue.put(world.key, f'"{number}"'.encode(), seconds=5)
    assert other_asker.broker.llen(name) == MOST_WAITING
    assert 0 < other_asker.broker.ttl(name) <= KEPT
    other_asker.memory(world).count()
    eventually(lambda: not other_asker.broker.exists(name), "the queue to be empty")


def test_the_queue_goes_with_its_project(fragile: OwnSystem, other_asker: Asker) -> None:
    user = fragile.user()
    project = user.post("/my/projects/", {"name": "short-lived"}).json()["id"]
    with other_asker.database.system_session("a test looks") as session:
        row = session.scalars(select(Workspace).where(Workspace.project_id == UUID(project))).one()
        key = WorkspaceKey(row.user_id, row.project_id)
    assert other_asker.queue.put(key, b"{}", seconds=5)
    assert other_asker.broker.exists(key.requests_queue)
    assert user.delete(f"/my/projects/{project}/").status_code == 204
    assert not other_asker.broker.exists(key.requests_queue)


def test_operators_see_the_queue(fragile: OwnSystem, other_asker: Asker, world: World) -> None:
    other_asker.memory(world).count()
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", "inspect", "--timeout", "5", "active_queues", "--json"],
        cwd=ROOT,
        env=environ | {name: str(value) for name, value in fragile.options.items()},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    names = {queue["name"] for queues in json.loads(done.stdout).values() for queue in queues}
    assert world.key.requests_queue in names
