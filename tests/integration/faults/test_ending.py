"""A node that is told to end does so, whatever does not answer it."""

import signal
from pathlib import Path

import pytest

from models.tenancy import Database
from settings import load_settings
from tasks.sender import web_sender
from tests.integration.core.moves import accept
from tests.integration.core.world import make_world
from tests.support.processes import OwnNode, own_node
from tests.support.proxy import proxy
from workspace.ledger import Host

pytestmark = pytest.mark.stack

GRACE = 1.0
END = 15.0
"""Seconds: the grace, what stopped work gets, and what giving away gets."""


@pytest.mark.parametrize("store", ["BROKER_URL", "REDIS_URL", "DATABASE_URL"])
def test_a_node_ends_in_time_although_a_store_is_silent(store: str, tmp_path: Path) -> None:
    settings = load_settings()
    url = {"BROKER_URL": settings.broker, "REDIS_URL": settings.redis_url, "DATABASE_URL": settings.database_url}[store]
    with proxy(url) as way:
        options = {"BROKER_URL": settings.broker, "CACHE_URL": settings.cache, store: way.url}
        with own_node(tmp_path / "node.log", NODE_SHUTDOWN_GRACE=GRACE, **options) as node:
            node.await_ready()
            way.freeze()
            node.tell(signal.SIGTERM)
            node.await_end(END)


def test_a_node_with_work_to_hand_over_ends_in_time_although_the_broker_is_silent(
    database: Database, tmp_path: Path
) -> None:
    with (
        proxy(load_settings().broker) as way,
        own_node(tmp_path / "node.log", NODE_SHUTDOWN_GRACE=GRACE, BROKER_URL=way.url) as node,
    ):
        node.await_ready()
        node_id = id_of(node)
        world = make_world(database, host=Host(node_id, 1))
        accept(world)
        way.freeze()
        node.tell(signal.SIGTERM)
        node.await_end(END)
    assert world.workspace().node_id != node_id


def id_of(node: OwnNode) -> str:
    """The id under which a node hosts."""
    inspect = web_sender(load_settings()).control.inspect(destination=[node.name], timeout=5.0, limit=1)
    return str(inspect._request("workspaces")[node.name]["node_id"])
