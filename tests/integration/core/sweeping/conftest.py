"""A deployment that nobody looks after but the sweeper."""

import pytest
import redis

from models.tenancy import Database
from tests.integration.core.sweeping.parts import Deployment, Parts
from tests.integration.core.world import World


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def deployment(database: Database, old_redis: redis.Redis, parts: Parts) -> Deployment:
    return Deployment(database, old_redis, parts)


@pytest.fixture
def world(deployment: Deployment) -> World:
    """A user with a project that the node `node` hosts, an agent and a session."""
    return deployment.world()
