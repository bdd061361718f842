"""The oversight of a large deployment costs a few statements, however many workspaces there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
import redis
from sqlalchemy import event, insert

from models import Project, User, UserAgent, Workspace, new_id, utc_now
from models.statuses import AgentStatus, WorkspaceState
from models.tenancy import Database
from tests.integration.core.world import World
from workspace.errors import NotFound
from workspace.names import WorkspaceKey
from workspace.oversight import Oversight
from workspace.reports import Reports, WorkspaceReport
from workspace.survey import Surveyor, WorkspaceStore

pytestmark = pytest.mark.stack

MANY = 1_200
NODES = 4
REPORT = WorkspaceReport(epoch=1, agents={}, cache=0, hosted_since=1_000, last_used=1_060, suspended=False)


@pytest.fixture
def surveyor(store: redis.Redis) -> Surveyor:
    return Surveyor(Reports(store), queue_limit=100)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Collect the statements of a block."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def furnish(database: Database, reports: Reports) -> None:
    """Make many workspaces with two agents each, on a few nodes that speak of all of them but one."""
    now = utc_now()
    nodes = [f"node-{uuid4().hex}" for _ in range(NODES)]
    keys = [WorkspaceKey(new_id(), new_id()) for _ in range(MANY)]
    places = [{"user_id": key.user_id, "project_id": key.project_id} for key in keys]
    agent = {"config": {}, "version": 1, "status": AgentStatus.READY, "updated_at": now, "created_at": now}
    with database.system_session("a test makes rows") as session:
        users = [{"id": key.user_id, "subject": str(key.user_id), "created_at": now} for key in keys]
        session.execute(insert(User), users)
        projects = [
            {"id": key.project_id, "user_id": key.user_id, "name": "x", "created_at": now, "updated_at": now}
            for key in keys
        ]
        session.execute(insert(Project), projects)
        state = {"state": WorkspaceState.INITIALIZED, "epoch": 1, "settings": {}, "created_at": now}
        hosted = [{**each, **state, "node_id": nodes[number % NODES]} for number, each in enumerate(places)]
        session.execute(insert(Workspace), hosted)
        agents = [{**each, **agent, "id": new_id(), "name": name} for each in places for name in ("one", "two")]
        session.execute(insert(UserAgent), agents)
        session.commit()
    for number, node in enumerate(nodes):
        reports.write(node, {key.slug: REPORT for key in keys[number::NODES] if key is not keys[7]})


def test_many_workspaces_are_seen_with_a_few_statements(
    database: Database, surveyor: Surveyor, store: redis.Redis
) -> None:
    furnish(database, Reports(store))
    oversight = Oversight(database, surveyor)
    with counted(database) as statements:
        seen = oversight.concerning()
    assert len(statements) == 3
    assert len(seen) == MANY
    assert {len(each.facts.agents) for each in seen} == {2}
    assert sum(each.health.status == "unhealthy" for each in seen) == 1
    slugs = [each.facts.key.slug for each in seen]
    assert slugs == sorted(slugs)
    with counted(database) as statements:
        assert len(oversight.hosted()) == MANY
    assert len(statements) == 3
    owner = seen[0].facts.key.user_id
    assert [each.facts.key.user_id for each in oversight.hosted(owner)] == [owner]


def test_an_owner_sees_one_workspace_and_no_other_users(world: World, surveyor: Surveyor) -> None:
    workspaces = WorkspaceStore(world.database, surveyor)
    assert workspaces.get(world.key).facts.key == world.key
    assert workspaces.get(world.key).facts.agents[0].agent_id == world.agent_id
    for key in (WorkspaceKey(new_id(), world.key.project_id), WorkspaceKey(world.key.user_id, new_id())):
        with pytest.raises(NotFound):
            workspaces.get(key)
