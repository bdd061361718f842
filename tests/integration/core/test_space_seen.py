"""What a workspace says of itself where it is not hosted: from the rows, for whoever asks in the process."""

import pytest

from bootstrap import build_web
from models import utc_now
from models.tenancy import Database
from settings import load_settings
from tests.integration.core.world import World
from workspace.space import UserWorkerSpace

pytestmark = pytest.mark.stack


@pytest.fixture
def space(world: World, database: Database) -> UserWorkerSpace:
    url = database.engine.url.render_as_string(hide_password=False)
    web = build_web(load_settings().model_copy(update={"database_url": url}))
    return web.manager.get_or_create(world.key)


def test_it_tells_what_each_agent_has_to_do(world: World, space: UserWorkerSpace) -> None:
    world.agent("other", concurrency_limit=7)
    first, _held = world.accept(), world.accept()
    world.start(first)
    world.accept(world.session())
    stats = space.get_agent_stats()
    assert set(stats) == {"helper", "other"}
    helper = stats["helper"]
    assert (helper["running"], helper["queued"], helper["held"]) == (1, 1, 1)
    assert helper["agent_id"] == str(world.agent_id)
    assert (stats["other"]["limit"], stats["other"]["running"]) == (7, 0)


def test_it_is_healthy_until_something_does_not_work(world: World, space: UserWorkerSpace) -> None:
    world.change_workspace(node_id=None, state="cleaned")
    assert space.is_healthy()
    world.change_workspace(state="error", created_at=utc_now())
    assert not space.is_healthy()


def test_it_tells_that_this_process_does_not_host_it(space: UserWorkerSpace) -> None:
    metrics = space.get_metrics()
    assert (metrics["hosted"], metrics["epoch"], metrics["cache_size"]) == (False, None, 0)
    assert not space.hosted
