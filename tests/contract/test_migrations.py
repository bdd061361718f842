"""The migrations make the tables that the models describe, all of them, and can be taken back.

They run in a database of their own in the stack's Postgres.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, make_url, text

from models import Base
from models.migrate import alembic_config, downgrade, upgrade
from settings import database_url_from_environment

SCRIPTS = ScriptDirectory.from_config(alembic_config("postgresql+psycopg2://nowhere/none"))


DEFINITIONS = (
    """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
       FROM information_schema.columns WHERE table_schema = 'public'""",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
       FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    """SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'""",
)
"""Each row begins with its table's name."""


def test_there_is_one_head() -> None:
    assert len(SCRIPTS.get_heads()) == 1
    assert len(SCRIPTS.get_bases()) == 1


def test_every_revision_follows_the_one_before_and_says_what_it_does() -> None:
    revisions = list(SCRIPTS.walk_revisions())
    for revision in revisions:
        assert revision.doc
        assert not revision.is_branch_point
        assert not revision.is_merge_point
    assert [revision.revision for revision in revisions] == sorted((each.revision for each in revisions), reverse=True)


@pytest.fixture
def scratch() -> Iterator[str]:
    """The address of an empty database."""
    own = make_url(database_url_from_environment())
    name = f"scratch_{uuid4().hex}"
    admin = create_engine(own, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield own.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def engine_of(url: str) -> Engine:
    return create_engine(url, poolclass=NullPool)


def definitions(connection: Connection) -> list[Any]:
    """Return everything in the schema that can be named, as Postgres describes it."""
    described = []
    for query in DEFINITIONS:
        described += sorted(tuple(map(str, row)) for row in connection.execute(text(query)))
    return described


@pytest.mark.stack
def test_the_migrated_database_is_what_the_models_say(scratch: str) -> None:
    upgrade(scratch)
    command.check(alembic_config(scratch))
    with engine_of(scratch).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        migrated = definitions(connection)
    assert set(inspect(engine_of(scratch)).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    # Autogeneration does not compare check constraints and the conditions of indexes; this does.
    assert [each for each in migrated if each[0] != "alembic_version"] == made_by_the_models(scratch)


def made_by_the_models(scratch: str) -> list[Any]:
    """Return the definitions of tables that were made without migrations, in the same database."""
    downgrade(scratch, "base")
    engine = engine_of(scratch)
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        return [each for each in definitions(connection) if each[0] != "alembic_version"]


@pytest.mark.stack
def test_every_migration_can_be_taken_back_and_applied_again(scratch: str) -> None:
    upgrade(scratch)
    with engine_of(scratch).connect() as connection:
        before = definitions(connection)
    downgrade(scratch, "base")
    with engine_of(scratch).connect() as connection:
        assert {each[0] for each in definitions(connection)} == {"alembic_version"}
        left = connection.execute(text("SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace"))
        assert {name.lstrip("_") for (name,) in left} == {"alembic_version"}
    upgrade(scratch)
    with engine_of(scratch).connect() as connection:
        assert definitions(connection) == before


@pytest.mark.stack
def test_what_ended_before_agents_remembered_is_not_remembered_later(scratch: str) -> None:
    """What is active at that moment is remembered when it ends."""
    upgrade(scratch)
    downgrade(scratch, "0003")
    with engine_of(scratch).begin() as connection:
        connection.execute(text("SET session_replication_role = replica"))  # no parents are needed
        for status in ("queued", "running", "waiting", "completed", "failed", "cancelled"):
            connection.execute(
                text(
                    "INSERT INTO tasks (id, user_id, project_id, session_id, run_id, agent_name, agent_version, "
                    "status, send_count, attempts, usage, created_at) VALUES (gen_random_uuid(), gen_random_uuid(), "
                    "gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'a', 1, :status, 0, 0, '{}', now())"
                ),
                {"status": status},
            )
    upgrade(scratch)
    with engine_of(scratch).connect() as connection:
        due = connection.execute(text("SELECT status FROM tasks WHERE remembered_at IS NULL ORDER BY status"))
        assert [status for (status,) in due] == ["queued", "running", "waiting"]


@pytest.mark.stack
def test_migrating_twice_changes_nothing(scratch: str) -> None:
    for _ in range(2):
        upgrade(scratch)
    command.check(alembic_config(scratch))


@pytest.mark.stack
def test_the_stacks_own_database_is_at_the_head() -> None:
    with engine_of(database_url_from_environment()).connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == SCRIPTS.get_current_head()


def test_the_migrations_can_be_read_as_sql(capsys: pytest.CaptureFixture[str]) -> None:
    """For who may not run them: `alembic upgrade --sql`."""
    command.upgrade(alembic_config("postgresql+psycopg2://nowhere/none"), "head", sql=True)
    written = capsys.readouterr().out
    for table in Base.metadata.tables:
        assert f"CREATE TABLE {table} (" in written


def test_an_address_with_a_percent_sign_is_taken_as_it_is() -> None:
    url = "postgresql+psycopg2://user:p%40ss@host/db"
    assert alembic_config(url).get_main_option("sqlalchemy.url") == url
