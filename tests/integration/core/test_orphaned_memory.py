"""What agents remembered goes with them, and what a deletion missed is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, event

from models import Project, UserAgent, new_id
from models.tenancy import Database
from tests.integration.core.world import World, make_world
from tests.support.memories import SPACE, point
from workspace.memory.edge.store import QdrantEdgeStore
from workspace.memory.memories import EVERYTHING
from workspace.memory.ownership import NOBODY
from workspace.names import Collection, WorkspaceKey
from workspace.sweeping import orphaned_memory as module
from workspace.sweeping.orphaned_memory import OrphanedMemory

pytestmark = pytest.mark.stack


@pytest.fixture
def store(tmp_path: Path) -> Iterator[QdrantEdgeStore]:
    opened = QdrantEdgeStore(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def orphans(database: Database, store: QdrantEdgeStore) -> OrphanedMemory:
    return OrphanedMemory(database, store)


def remembering(store: QdrantEdgeStore, world: World, **changes: object) -> Collection:
    """The collection of an agent, with something in it."""
    collection = Collection(world.key, "helper", world.agent_id)._replace(**changes)
    store.upsert(collection, SPACE, [point(0)])
    return collection


def delete_agent(world: World) -> None:
    _delete(world, delete(UserAgent).where(UserAgent.id == world.agent_id))


def delete_project(world: World) -> None:
    _delete(world, delete(Project).where(Project.id == world.key.project_id))


def _delete(world: World, statement: object) -> None:
    with world.database.system_session("a test deletes") as session:
        session.execute(statement)  # type: ignore[call-overload]
        session.commit()


@pytest.mark.parametrize("deleted", [delete_agent, delete_project])
def test_a_deleted_agents_memory_is_removed_and_no_other_one(
    store: QdrantEdgeStore, orphans: OrphanedMemory, world: World, deleted: object
) -> None:
    neighbour = world.project()
    kept = remembering(store, neighbour)
    remembering(store, world)
    assert orphans.remove(world.key, neighbour.key) == 0, "both live"
    deleted(world)  # type: ignore[operator]
    assert orphans.remove(world.key) == 1
    assert orphans.remove(world.key) == 0
    assert store.collections(world.key) == []
    assert store.count(kept, EVERYTHING) == 1


def test_the_memory_of_an_agent_whose_name_is_another_ones_now_is_removed(
    store: QdrantEdgeStore, orphans: OrphanedMemory, world: World
) -> None:
    left = remembering(store, world)
    delete_agent(world)
    heir = left._replace(agent_id=world.agent("helper"))
    assert orphans.remove(world.key) == 1
    store.upsert(heir, SPACE, [point(0)])
    assert orphans.remove(world.key) == 0
    assert store.count(heir, EVERYTHING) == 1


def test_a_living_agent_gets_its_memory_although_the_leftover_has_the_later_id(
    store: QdrantEdgeStore, orphans: OrphanedMemory, world: World
) -> None:
    """The clock of the process that made the leftover's agent was ahead."""
    remembering(store, world, agent_id=new_id())
    assert orphans.remove(world.key) == 1
    remembering(store, world)
    assert orphans.remove(world.key) == 0


def test_a_collection_that_does_not_tell_whose_it_is_is_of_whoever_has_its_name(
    store: QdrantEdgeStore, orphans: OrphanedMemory, world: World
) -> None:
    remembering(store, world, agent_id=NOBODY)
    assert orphans.remove(world.key) == 0
    delete_agent(world)
    assert orphans.remove(world.key) == 1


def test_what_another_node_has_open_is_left_to_it(
    store: QdrantEdgeStore, orphans: OrphanedMemory, database: Database, world: World, tmp_path: Path
) -> None:
    left = remembering(store, world)
    free = remembering(store, world, agent_name="another", agent_id=new_id())
    delete_agent(world)
    store.release(world.key)
    other = QdrantEdgeStore(tmp_path)
    try:
        assert other.count(left, EVERYTHING) == 1
        assert orphans.remove(world.key) == 1
        assert store.collections(world.key) == [left]
        assert OrphanedMemory(database, other).remove(world.key) == 1
    finally:
        other.close()
    assert store.collections(free.key) == []


def test_a_memory_that_is_made_while_somebody_looks_is_not_taken_for_an_orphan(
    store: QdrantEdgeStore, orphans: OrphanedMemory, world: World
) -> None:
    """Its agent is made after the rows were read, so it must not be in the list that is compared with them."""
    remembering(store, world)
    made: list[Collection] = []

    def make_one(*_: object) -> None:
        if not made:
            made.append(Collection(world.key, "late", new_id()))
            agent_id = world.agent("late")
            made[0] = made[0]._replace(agent_id=agent_id)
            store.upsert(made[0], SPACE, [point(0)])

    engine = world.database.engine
    event.listen(engine, "after_cursor_execute", make_one)
    try:
        assert orphans.remove(world.key) == 0
    finally:
        event.remove(engine, "after_cursor_execute", make_one)
    assert store.count(made[0], EVERYTHING) == 1


def test_what_is_of_another_deployments_users_is_left_alone(
    store: QdrantEdgeStore, orphans: OrphanedMemory, world: World
) -> None:
    """All of its agents are missing in this one's database."""
    theirs = remembering(store, world, key=WorkspaceKey(new_id(), new_id()))
    remembering(store, world)
    delete_project(world)
    assert orphans.remove(theirs.key, world.key) == 1
    assert orphans.look() == 0
    assert store.count(theirs, EVERYTHING) == 1


def test_once_in_a_while_all_workspaces_are_looked_at_some_at_a_time(
    store: QdrantEdgeStore,
    orphans: OrphanedMemory,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    worlds = [make_world(database) for _ in range(5)]
    for each in worlds:
        remembering(store, each)
    for each in worlds[1:]:
        delete_project(each)
    (tmp_path / str(new_id()) / str(new_id())).mkdir(parents=True)  # of a removed project
    removed = [orphans.look() for _ in range(4)]
    assert sum(removed) == 4
    assert max(removed) == 2
    assert store.workspaces() == [worlds[0].key]
    assert {path.name for path in tmp_path.iterdir()} == {".new", ".trash", str(worlds[0].key.user_id)}
    delete_project(worlds[0])
    assert orphans.look() == 0  # it looks seldom
