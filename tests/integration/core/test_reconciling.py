"""A node's comparison of what it consumes with the rows never consumes what the node does not host."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from bootstrap import build_node
from models import UserAgent
from models.tenancy import Database
from settings import load_settings
from tasks.node import Node
from tasks.sender import web_sender
from tests.integration.core.test_deletions import waiting
from tests.integration.core.world import World, make_world
from tests.support.waiting import eventually
from workspace.hosted_space import HostedSpace

pytestmark = pytest.mark.stack


@pytest.fixture
def world(database: Database) -> World:
    """A workspace that nobody hosts."""
    return make_world(database, host=None)


@pytest.fixture
def node(database: Database) -> Node:
    """A node without a worker, whose threads do not run."""
    url = database.engine.url.render_as_string(hide_password=False)
    settings = load_settings().model_copy(update={"database_url": url})
    return build_node(web_sender(settings), name=f"reconciling-{uuid4().hex[:8]}", settings=settings)


@pytest.fixture
def host(node: Node, world: World) -> HostedSpace:
    """The workspace as that node hosts it, with its agent attached."""
    assert node.host(world.key)
    host = node.manager.get_or_create(world.key).host
    assert host is not None
    host.attach_by_id(world.agent_id)
    assert node.queues.attached()
    return host


def test_a_workspace_that_is_given_away_meanwhile_is_not_consumed_again(
    world: World, node: Node, host: HostedSpace
) -> None:
    with ThreadPoolExecutor(1) as threads:
        with world.database.engine.begin() as connection:
            connection.execute(text("LOCK TABLE user_agents"))
            comparison = threads.submit(node.reconcile)
            eventually(lambda: waiting(world.database) == 1, "the comparison to wait for the agents' rows")
            assert host.close("idle")
        comparison.result(10)
    assert node.queues.attached() == []


def test_a_queue_whose_workspace_is_not_hosted_here_is_let_go(world: World, node: Node, host: HostedSpace) -> None:
    assert host.close("idle")
    node.queues.attach(world.key, world.agent_id, "helper", 3)
    node.reconcile()
    assert node.queues.attached() == []


def test_a_changed_limit_whose_hint_was_lost_is_taken_over(world: World, node: Node, host: HostedSpace) -> None:
    with world.database.tenant_session(world.key.user_id) as session:
        session.execute(update(UserAgent).values(config={"name": "helper", "concurrency_limit": 7}))
        session.commit()
    node.reconcile()
    assert [agent.limit for agent in node.queues.attached()] == [7]
    assert host.tenure is not None
