"""What the tables promise by their form alone: every tenant table carries its owner, in every key that leads away."""

from itertools import product

import pytest
from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from models import Base, TenantOwned, User

ENTITIES = [mapper.class_ for mapper in Base.registry.mappers]
TENANT_TABLES = {each.__table__.name: each.__table__ for each in ENTITIES if issubclass(each, TenantOwned)}
PARENTS = {
    "project_id": "projects",
    "session_id": "chat_sessions",
    "run_id": "runs",
    "retry_of": "runs",
    "message_of": "runs",
    "task_id": "tasks",
    "agent_id": "user_agents",
    "tool_call_id": "tool_calls",
    "grant_id": "approval_grants",
}
"""Where a column of this name leads."""


def test_every_table_but_users_belongs_to_a_tenant() -> None:
    assert {each for each in ENTITIES if not issubclass(each, TenantOwned)} == {User}
    assert set(Base.metadata.tables) == {*TENANT_TABLES, "users"}
    assert len(TENANT_TABLES) == 12


@pytest.mark.parametrize("table", TENANT_TABLES.values(), ids=TENANT_TABLES)
def test_a_tenant_table_has_an_owner_that_is_never_null(table: Table) -> None:
    assert table.c.user_id.nullable is False


@pytest.mark.parametrize("table", TENANT_TABLES.values(), ids=TENANT_TABLES)
def test_every_key_to_a_tenant_table_goes_through_the_owner(table: Table) -> None:
    """So no row can hang under another user's parent, whatever code writes it."""
    for key in table.foreign_key_constraints:
        if key.referred_table.name == "users":
            assert key.column_keys == ["user_id"]
            continue
        (own, parents), *shared = ((element.parent.name, element.column.name) for element in key.elements)
        assert PARENTS[own] == key.referred_table.name
        assert parents == "id"
        assert ("user_id", "user_id") in shared
        assert all(here == there for here, there in shared)


@pytest.mark.parametrize("table", TENANT_TABLES.values(), ids=TENANT_TABLES)
def test_every_column_that_names_a_parent_is_held_by_a_key(table: Table) -> None:
    """By a key to that parent, or through another parent which has the same one."""
    held = {name for key in table.foreign_key_constraints for name in key.column_keys}
    assert set(PARENTS) & set(table.columns.keys()) <= held


@pytest.mark.parametrize("table", TENANT_TABLES.values(), ids=TENANT_TABLES)
def test_no_null_takes_a_key_out_of_force(table: Table) -> None:
    """Postgres does not check a key with a null in it: only the column that leads away may be null."""
    checks = {str(each.sqltext) for each in table.constraints if isinstance(each, CheckConstraint)}
    for key in table.foreign_key_constraints:
        leading, *shared = key.column_keys
        for name in shared:
            assert not table.c[name].nullable or f"{leading} IS NULL OR {name} IS NOT NULL" in checks, key.name


def _leads_to_users(table: Table, passed: frozenset[str] = frozenset()) -> bool:
    """Whether keys that cascade lead from here to the users; some lead back to where they came from."""
    passed |= {table.name}
    return any(
        key.referred_table.name == "users" or _leads_to_users(key.referred_table, passed)
        for key in table.foreign_key_constraints
        if key.ondelete == "CASCADE" and key.referred_table.name not in passed
    )


@pytest.mark.parametrize("table", TENANT_TABLES.values(), ids=TENANT_TABLES)
def test_a_deleted_user_takes_every_row_along(table: Table) -> None:
    assert _leads_to_users(table)


def test_what_a_deleted_agent_said_and_did_stays() -> None:
    for name in ("messages", "tasks"):
        (key,) = (
            key for key in TENANT_TABLES[name].foreign_key_constraints if key.referred_table.name == "user_agents"
        )
        assert key.ondelete == "SET NULL (agent_id)"
        assert TENANT_TABLES[name].c.agent_id.nullable
        assert "agent_name" in TENANT_TABLES[name].columns


def test_every_parent_has_the_key_that_its_children_refer_to() -> None:
    for table in TENANT_TABLES.values():
        for key in table.foreign_key_constraints:
            wanted = {element.column.name for element in key.elements}
            unique = [
                set(each.columns.keys())
                for each in key.referred_table.constraints
                if isinstance(each, UniqueConstraint | PrimaryKeyConstraint)
            ]
            assert wanted in unique, key.name


def test_every_status_is_held_by_the_database_itself() -> None:
    for table in Base.metadata.tables.values():
        checks = [str(each.sqltext) for each in table.constraints if isinstance(each, CheckConstraint)]
        for column in table.columns:
            if isinstance(column.type, Enum) and not column.nullable:
                assert any(check.startswith(f"{column.name} IN") for check in checks), f"{table.name}.{column.name}"


def test_every_time_has_its_zone() -> None:
    for table in Base.metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, DateTime):
                assert column.type.timezone, f"{table.name}.{column.name}"


def test_names_of_keys_and_indexes_fit_into_postgres() -> None:
    names = []
    for table in Base.metadata.tables.values():
        names += [str(each.name) for each in (*table.constraints, *table.indexes)]
    assert all(len(name) <= 63 for name in names)
    constraints = [
        (table.name, str(each.name))
        for table, each in (
            pair for table in Base.metadata.tables.values() for pair in product([table], table.constraints)
        )
        if isinstance(each, ForeignKeyConstraint)
    ]
    assert len(set(constraints)) == len(constraints)
