"""What a node sees to of its memories: removal with the agent, collections of others, outages and gauges."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from prometheus_client import REGISTRY
from sqlalchemy import delete

from bootstrap import build_node
from models import Project, UserAgent
from models.tenancy import Database
from settings import load_settings
from tasks.hearing import Hearing
from tasks.memory_upkeep import MemoryUpkeep
from tasks.node import Node
from tasks.sender import web_sender
from tests.integration.core.world import World, make_world
from tests.support.memories import SPACE, point
from tests.support.waiting import eventually
from workspace.broadcast import Change, Notice
from workspace.errors import MemoryUnavailable
from workspace.events import AlertKind
from workspace.memory.edge.store import QdrantEdgeStore
from workspace.memory.memories import EVERYTHING
from workspace.names import Collection

pytestmark = pytest.mark.stack


@pytest.fixture
def world(database: Database) -> World:
    """A workspace that nobody hosts."""
    return make_world(database, host=None)


@pytest.fixture
def node(database: Database, old_redis: redis.Redis, own_redis_url: str, tmp_path: Path) -> Iterator[Node]:
    """A node without a worker, whose threads do not run."""
    settings = load_settings().model_copy(
        update={
            "database_url": database.engine.url.render_as_string(hide_password=False),
            "redis_url": own_redis_url,
            "data_dir": tmp_path,
        }
    )
    node = build_node(web_sender(settings), name=f"remembering-{uuid4().hex[:8]}", settings=settings)
    yield node
    node._parts.memories.close()


@pytest.fixture
def upkeep(node: Node) -> MemoryUpkeep:
    return MemoryUpkeep(node._parts, hosts=lambda: [space.host for space in node.manager.hosted() if space.host])


def store_of(node: Node) -> QdrantEdgeStore:
    store = node._parts.memories.store
    assert isinstance(store, QdrantEdgeStore)
    return store


def remembering(node: Node, world: World) -> Collection:
    """The collection of an agent, which the node has open."""
    collection = Collection(world.key, "helper", world.agent_id)
    store_of(node).upsert(collection, SPACE, [point(0), point(1)])
    return collection


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"codelab_memory_{name}", labels)


# -- removal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [Change.AGENT_DELETED, Change.WORKSPACE_DELETED])
def test_the_host_that_hears_of_a_deletion_removes_what_it_has_open(
    world: World, node: Node, tmp_path: Path, change: Change
) -> None:
    assert node.host(world.key)
    remembering(node, world)
    with world.database.system_session("a test deletes") as session:
        if change is Change.AGENT_DELETED:
            session.execute(delete(UserAgent).where(UserAgent.id == world.agent_id))
        else:
            session.execute(delete(Project).where(Project.id == world.key.project_id))
        session.commit()
    agent_id = world.agent_id if change is Change.AGENT_DELETED else None
    notice = Notice(change=change, user_id=world.key.user_id, project_id=world.key.project_id, agent_id=agent_id)
    Hearing(node._parts).hear(notice)
    users = tmp_path / "memory" / str(world.key.user_id)
    eventually(lambda: not users.exists(), "the directory to be gone")


def test_a_node_that_begins_to_host_a_workspace_removes_what_deleted_agents_left(world: World, node: Node) -> None:
    kept = remembering(node, world)
    left = kept._replace(agent_name="gone")
    store_of(node).upsert(left, SPACE, [point(0)])
    store_of(node).release(world.key)
    assert node.host(world.key)
    eventually(lambda: store_of(node).collections(world.key) == [kept], "the leftover to be gone")


# -- collections of others -------------------------------------------------------------------------------------------


def test_a_node_lets_go_of_what_it_has_open_and_does_not_host(
    database: Database, world: World, node: Node, upkeep: MemoryUpkeep, tmp_path: Path
) -> None:
    others, suspended = make_world(database, host=None), make_world(database, host=None)
    for each in (world, suspended):
        assert node.host(each.key)
    collections = [remembering(node, each) for each in (world, others, suspended)]
    host = node.manager.get_or_create(suspended.key).host
    assert host is not None
    assert host.tenure is not None
    host.tenure.suspended = True
    upkeep.let_go()
    heir = QdrantEdgeStore(tmp_path / "memory")
    try:
        assert [_count(heir, each) for each in collections] == [None, 2, 2]
    finally:
        heir.close()


def _count(store: QdrantEdgeStore, collection: Collection) -> int | None:
    try:
        return store.count(collection, EVERYTHING)
    except MemoryUnavailable:
        return None


# -- seeing it -------------------------------------------------------------------------------------------------------


def test_the_gauges_tell_what_the_hosted_workspaces_remember(
    world: World, node: Node, upkeep: MemoryUpkeep, database: Database
) -> None:
    assert node.host(world.key)
    remembering(node, world)
    others = make_world(database, host=None)
    remembering(node, others)
    store_of(node).release(others.key)
    upkeep.measure()
    assert (gauge("collections", state="open"), gauge("collections", state="known")) == (1, 1)
    assert gauge("vectors") == 2
    assert (gauge("bytes") or 0) >= 100_000
    assert gauge("available") == 1
    store_of(node).release(world.key)
    upkeep.measure()
    assert (gauge("collections", state="open"), gauge("collections", state="known")) == (0, 1)
    assert gauge("vectors") == 0
    assert (gauge("bytes") or 0) >= 100_000, "it is still on the disk"


def test_an_outage_of_memory_is_told_once_and_the_next_one_again(
    world: World, node: Node, upkeep: MemoryUpkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory").write_text("a file where the directory should be")
    watch, alerts = node._parts.memory_watch, node._parts.memory_watch._alerts
    monkeypatch.setattr(alerts, "_seldom", type(alerts._seldom)(0.0))

    def told() -> int:
        return sum(each.facts.get("node_id") == node.node_id for each in alerts.recent())

    for _ in range(3):
        assert not watch.look()
    assert told() == 1
    (record,) = [each for each in alerts.recent() if each.facts.get("node_id") == node.node_id]
    assert record.kind is AlertKind.MEMORY_UNAVAILABLE
    assert gauge("available") == 0
    (tmp_path / "memory").unlink()
    eventually(watch.look, "memory to be back")
    assert gauge("available") == 1
    node._parts.memories.close()
    assert not watch.look()
    assert told() == 2
    assert node.host(world.key), "agents work on without their memory"
