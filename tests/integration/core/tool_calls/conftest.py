"""A node by itself, with real files, over the tests' own database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from models.tenancy import Database
from settings import Settings, load_settings
from tests.integration.core.tool_calls.lone_node import LoneNode
from tests.integration.core.world import HOST, World
from tests.support.lost_answers import LostAnswers
from tests.support.stack import Stack


@pytest.fixture
def lone_settings(own_database: Database, own_redis_url: str, stack: Stack, tmp_path: Path) -> Settings:
    """Everything of its own but the model, which is the stack's stand-in."""
    url = own_database.engine.url.render_as_string(hide_password=False)
    return load_settings().model_copy(
        update={
            "database_url": url,
            "redis_url": own_redis_url,
            "openai_base_url": stack.model_url,
            "data_dir": tmp_path,
            "database_pool_size": 5,
        }
    )


@pytest.fixture
def lone(lone_settings: Settings, world: World, old_redis: redis.Redis) -> Iterator[LoneNode]:
    """A node, whose lease no sweep finds lapsed."""
    old_redis.set(world.key.lease, HOST.node_id)
    node = LoneNode(lone_settings, world, old_redis)
    yield node
    node.close()


@pytest.fixture
def lossy(own_database: Database) -> Iterator[LostAnswers]:
    """A way to the database on which answers to commits can be lost."""
    way = LostAnswers(own_database.engine.url.render_as_string(hide_password=False))
    yield way
    way.close()


@pytest.fixture
def lossy_node(lone_settings: Settings, world: World, old_redis: redis.Redis, lossy: LostAnswers) -> Iterator[LoneNode]:
    """A node that reaches the database by that way; the web process does not."""
    node = LoneNode(lone_settings, world, old_redis, node_database_url=lossy.url)
    yield node
    node.close()
