"""A workspace is hosted where its files are, and its files go with its project."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import delete

from models import Project
from models.tenancy import Database
from tests.integration.core.conftest import TTL
from tests.integration.core.world import World, make_world
from workspace.claims import Claims
from workspace.files import WorkspaceFiles, WriteMode
from workspace.leases import Leases
from workspace.names import WorkspaceKey
from workspace.sweeping.orphaned_files import OrphanedFiles

pytestmark = pytest.mark.stack

HERE, ELSEWHERE = uuid4(), uuid4()


def claims(database: Database, client: redis.Redis, name: str, data_id: UUID | None) -> Claims:
    return Claims(database, Leases(client, ttl=TTL), node_id=name, data_id=data_id)


@pytest.fixture
def files(tmp_path: Path) -> WorkspaceFiles:
    return WorkspaceFiles(
        tmp_path / "files", quota_bytes=1_000_000, quota_entries=1_000, largest_file=100_000, owner=None
    )


@pytest.fixture
def orphaned_files(database: Database, files: WorkspaceFiles) -> OrphanedFiles:
    return OrphanedFiles(database, files)


def write(files: WorkspaceFiles, key: WorkspaceKey) -> None:
    files.write(key, "a/b.txt", b"hello", WriteMode.CREATE)


def delete_project(world: World) -> None:
    with world.database.system_session("a test deletes a project") as session:
        session.execute(delete(Project).where(Project.id == world.key.project_id))
        session.commit()


def test_the_first_claim_says_where_the_files_are_and_others_leave_it_to_nodes_that_see_them(
    database: Database, old_redis: redis.Redis
) -> None:
    world = make_world(database, host=None)
    first = claims(database, old_redis, "first", HERE)
    claim = first.claim(world.key)
    assert claim is not None
    first.release_all([world.key])
    assert claims(database, old_redis, "stranger", ELSEWHERE).claim(world.key) is None
    assert claims(database, old_redis, "second", HERE).claim(world.key) is not None


def test_a_refusal_takes_no_lease(database: Database, old_redis: redis.Redis) -> None:
    world = make_world(database, host=None)
    first = claims(database, old_redis, "first", HERE)
    assert first.claim(world.key) is not None
    first.release_all([world.key])
    claims(database, old_redis, "stranger", ELSEWHERE).claim(world.key)
    assert old_redis.get(world.key.lease) is None


def test_the_files_of_a_deleted_project_are_removed(
    database: Database, files: WorkspaceFiles, orphaned_files: OrphanedFiles
) -> None:
    world = make_world(database)
    write(files, world.key)
    delete_project(world)
    assert orphaned_files.remove(world.key)
    assert list(files.workspaces()) == []


def test_the_files_of_a_project_that_lives_stay_whoever_asks(
    database: Database, files: WorkspaceFiles, orphaned_files: OrphanedFiles
) -> None:
    world = make_world(database)
    write(files, world.key)
    assert not orphaned_files.remove(world.key)
    assert list(files.workspaces()) == [world.key]


def test_another_users_project_does_not_keep_files_alive(
    database: Database, files: WorkspaceFiles, orphaned_files: OrphanedFiles
) -> None:
    world = make_world(database)
    strange = WorkspaceKey(uuid4(), world.key.project_id)
    write(files, strange)
    assert orphaned_files.remove(strange)


def test_files_that_nobody_removed_are_found(
    database: Database, files: WorkspaceFiles, orphaned_files: OrphanedFiles
) -> None:
    gone, living = make_world(database), make_world(database)
    for world in (gone, living):
        write(files, world.key)
    delete_project(gone)
    assert orphaned_files.look() == 1
    assert list(files.workspaces()) == [living.key]
    assert orphaned_files.look() == 0  # it looks seldom
