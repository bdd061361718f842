"""A deployment whose plans nobody looks after but the sweeper."""

import pytest
import redis

from models.tenancy import Database
from tests.integration.core.sweeping.parts import Deployment, Parts


@pytest.fixture
def deployment(database: Database, old_redis: redis.Redis) -> Deployment:
    return Deployment(database, old_redis, Parts())
