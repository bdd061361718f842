"""A database of its own on the stack's Postgres, and one on its Redis: the stack's own worker looks into neither."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
import redis
from sqlalchemy import create_engine, make_url, text

from models import Base
from models.database import build_database
from models.tenancy import Database
from settings import load_settings
from tests.integration.core.world import World, make_world
from tests.support.stack import Stack
from workspace.leases import Leases
from workspace.names import LEASES_SINCE

OWN_REDIS = 11
"""The stack itself uses the first four databases of its Redis."""
TTL = 10.0


@pytest.fixture(scope="session")
def own_database() -> Iterator[Database]:
    settings = load_settings()
    name = f"core_{uuid4().hex}"
    server = create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(settings.database_url).set(database=name).render_as_string(hide_password=False)
    sizes = {"database_pool_size": 30, "database_pool_overflow": 20}
    opened = build_database(settings.model_copy(update={"database_url": url, **sizes}), application_name="core-tests")
    Base.metadata.create_all(opened.engine)
    yield opened
    opened.close()
    server.dispose()  # the server may have been restarted by another test
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def database(own_database: Database) -> Database:
    """The database, with nothing in it."""
    with own_database.engine.begin() as connection:
        connection.execute(text("TRUNCATE users CASCADE"))
    return own_database


@pytest.fixture(scope="session")
def own_redis_url(stack: Stack) -> str:
    """The address of a database that nobody else uses."""
    return urlunsplit(urlsplit(stack.redis_url)._replace(path=f"/{OWN_REDIS}"))


@pytest.fixture(scope="session")
def own_redis_client(own_redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(own_redis_url, max_connections=2_048) as client:
        yield client
        client.flushdb()


@pytest.fixture
def new_redis(own_redis_client: redis.Redis) -> redis.Redis:
    """Redis with nothing in it, as it is right after it lost all its data."""
    own_redis_client.flushdb()
    return own_redis_client


@pytest.fixture
def old_redis(new_redis: redis.Redis) -> redis.Redis:
    """Redis that has had its data for long: a lease that is missing has lapsed."""
    new_redis.set(LEASES_SINCE, 0)
    return new_redis


@pytest.fixture
def leases(old_redis: redis.Redis) -> Leases:
    """The leases of nodes that nobody restarted."""
    return Leases(old_redis, ttl=TTL)


@pytest.fixture
def world(database: Database) -> World:
    """A user with a project that the node `node` hosts, an agent and a session."""
    return make_world(database)
