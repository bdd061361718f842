"""A database of its own on the stack's Postgres: neither the stack's worker nor its sweeper looks into it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from models import Base
from models.database import build_database
from models.tenancy import Database
from settings import load_settings
from tests.integration.core.world import World, make_world


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


@pytest.fixture
def world(database: Database) -> World:
    """A user with a project that the node `node` hosts, an agent and a session."""
    return make_world(database)
