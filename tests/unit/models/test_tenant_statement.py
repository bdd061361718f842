"""A Core statement either carries the tenant criterion everywhere, or it can not be made."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    Table,
    and_,
    bindparam,
    case,
    cast,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    table,
    tablesample,
    text,
    true,
    union,
    union_all,
    update,
)
from sqlalchemy import column as any_column
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.orm import aliased
from sqlalchemy.sql.expression import Executable

from models import Base, Message, Run, Task, TenantOwned, User, Workspace
from models.tenancy import Database, TenantMissing, TenantViolation
from models.tenant_statement import TENANT, TenantStatement, table_of, tenant

tasks, runs, messages, users = table_of(Task), table_of(Run), table_of(Message), table_of(User)
other = tasks.alias("other")

MINE = tasks.c.user_id == tenant()
MY_RUNS = runs.c.user_id == tenant()
OTHERS_MINE = other.c.user_id == tenant()
OF_RUN = tasks.c.run_id == runs.c.id
ME = users.c.id == tenant()
another_user = users.alias("another_user")

ONE = uuid4()
TWO = uuid4()

loose_runs = select(runs.c.id)
my_runs = select(runs.c.id).where(MY_RUNS)

SOUND: dict[str, Executable] = {
    "select": select(tasks.c.id).where(MINE),
    "select with more conditions": select(tasks.c.id).where(MINE, tasks.c.id == bindparam("task")),
    "select with the criterion in a nested and": select(tasks.c.id).where(and_(tasks.c.id == ONE, and_(MINE, true()))),
    "select of several statuses": select(tasks.c.id).where(MINE, or_(tasks.c.status == "held", tasks.c.attempts == 1)),
    "alias": select(other.c.id).where(OTHERS_MINE),
    "join, criteria in where": select(tasks.c.id).select_from(tasks.join(runs, OF_RUN)).where(MINE, MY_RUNS),
    "join, criterion in on": select(tasks.c.id).select_from(tasks.join(runs, and_(OF_RUN, MY_RUNS))).where(MINE),
    "comma join": select(tasks.c.id).where(MINE, MY_RUNS, OF_RUN),
    "self join": select(tasks.c.id).where(MINE, OTHERS_MINE, tasks.c.run_id == other.c.run_id),
    "scalar subquery": select(tasks.c.id, my_runs.limit(1).scalar_subquery()).where(MINE),
    "in": select(tasks.c.id).where(MINE, tasks.c.run_id.in_(my_runs)),
    "correlated exists": select(tasks.c.id).where(MINE, exists().where(MY_RUNS, OF_RUN)),
    "correlated not exists": select(tasks.c.id).where(MINE, ~exists().where(OTHERS_MINE, other.c.id < tasks.c.id)),
    "cte": select(my_runs.cte("mine").c.id),
    "union": union(select(tasks.c.id).where(MINE), my_runs),
    "locked": select(tasks.c.id).where(MINE).with_for_update(),
    # The list of tenants: its `id` is the tenant.
    "user": select(users.c.id).where(ME),
    "user by an alias": select(another_user.c.id).where(another_user.c.id == tenant()),
    "user, locked beside a table": select(tasks.c.id)
    .select_from(users.join(tasks, tasks.c.user_id == users.c.id))
    .where(ME, MINE)
    .with_for_update(of=users),
    "update": update(tasks).where(MINE).values(status="held"),
    "update with subquery": update(tasks).where(MINE, tasks.c.run_id.in_(my_runs)).values(status="held"),
    "update from": update(tasks).where(MINE, MY_RUNS, OF_RUN).values(error=runs.c.error),
    "delete": delete(tasks).where(MINE),
    "delete using": delete(tasks).where(MINE, MY_RUNS, OF_RUN),
    "insert": insert(tasks).values(user_id=tenant(), id=bindparam("task")),
    "insert by columns": insert(tasks).values({tasks.c.user_id: tenant(), tasks.c.id: bindparam("task")}),
    "insert of a cast tenant": insert(tasks).values(user_id=cast(tenant(), tasks.c.user_id.type)),
    "insert from select": insert(messages).from_select(
        ["id", "user_id"], select(runs.c.id, cast(tenant(), runs.c.user_id.type)).where(MY_RUNS)
    ),
    "insert in a cte": select(runs.c.id)
    .where(MY_RUNS)
    .add_cte(insert(tasks).values(user_id=tenant()).returning(tasks.c.id).cte("made")),
}

UNSOUND: dict[str, Executable] = {
    # Nothing said.
    "select": select(tasks.c.id),
    "select of an entity": select(Task),
    "select of an entity's column": select(Task.id),
    "select of an aliased entity": select(aliased(Task)),
    "select of nothing but a count": select(func.count()).select_from(tasks),
    "select of everything in words": select(text("*")).select_from(tasks),
    "update": update(tasks).values(status="held"),
    "update of one": update(tasks).where(tasks.c.id == bindparam("task")).values(status="held"),
    "delete": delete(tasks),
    "delete of one": delete(tasks).where(tasks.c.id == bindparam("task")),
    # Said, but not so that it counts.
    "criterion in an or": select(tasks.c.id).where(or_(MINE, tasks.c.id == ONE)),
    "criterion in an or with true": select(tasks.c.id).where(or_(MINE, true())),
    "criterion in an or in an and": select(tasks.c.id).where(tasks.c.id == ONE, or_(MINE, true())),
    "criterion under not": select(tasks.c.id).where(~MINE),
    "criterion under not with others": select(tasks.c.id).where(not_(and_(MINE, tasks.c.id == ONE))),
    "criterion in a function": select(tasks.c.id).where(func.coalesce(MINE, True)),
    "criterion in a case": select(tasks.c.id).where(case((MINE, True), else_=True)),
    "criterion in having": select(tasks.c.id).group_by(tasks.c.id).having(MINE),
    "criterion in a column": select(tasks.c.id, MINE),
    "criterion in order": select(tasks.c.id).order_by(MINE),
    "criterion within an exists alone": select(tasks.c.id).where(exists().where(MINE)),
    "criterion within another table's exists": select(tasks.c.id).where(exists().where(MY_RUNS, MINE)),
    "another parameter": select(tasks.c.id).where(tasks.c.user_id == bindparam("user")),
    "a literal": select(tasks.c.id).where(tasks.c.user_id == ONE),
    "a literal of that name": select(tasks.c.id).where(tasks.c.user_id == literal(TENANT)),
    "a parameter that is not quite it": select(tasks.c.id).where(tasks.c.user_id == bindparam(TENANT, unique=True)),
    "another column": select(tasks.c.id).where(tasks.c.id == tenant()),
    "another operator": select(tasks.c.id).where(tasks.c.user_id >= tenant()),
    "not equal": select(tasks.c.id).where(tasks.c.user_id != tenant()),
    "is distinct from": select(tasks.c.id).where(tasks.c.user_id.is_distinct_from(tenant())),
    "the column to itself": select(tasks.c.id).where(tasks.c.user_id == tasks.c.user_id),
    "in a list": select(tasks.c.id).where(tasks.c.user_id.in_([tenant(), ONE])),
    # The list of tenants.
    "users": select(users.c.id),
    "users by another column": select(users.c.id).where(users.c.subject == tenant()),
    "users by another parameter": select(users.c.id).where(users.c.id == bindparam("user")),
    "alias of users, criterion on the table": select(another_user.c.id).where(ME),
    "users beside a table of mine": select(users.c.subject, tasks.c.id).where(MINE),
    "users joined to a table of mine": select(users.c.subject)
    .select_from(users.join(tasks, tasks.c.user_id == users.c.id))
    .where(MINE),
    "me joined to another's table": select(tasks.c.id)
    .select_from(users.join(tasks, tasks.c.user_id == users.c.id))
    .where(ME),
    "change of users": update(users).values(email="x"),
    "change of me": update(users).where(ME).values(email="x"),
    "end of me": delete(users).where(ME),
    "new user": insert(users).values(id=tenant(), subject="x"),
    # Said of another table.
    "alias, criterion on its table": select(other.c.id).where(MINE),
    "table, criterion on its alias": select(tasks.c.id).where(OTHERS_MINE),
    "one of a self join": select(tasks.c.id).where(MINE, tasks.c.run_id == other.c.run_id),
    "left of a join": select(tasks.c.id).select_from(tasks.join(runs, OF_RUN)).where(MINE),
    "right of a join": select(tasks.c.id).select_from(tasks.join(runs, OF_RUN)).where(MY_RUNS),
    "left of an outer join": select(tasks.c.id).select_from(tasks.outerjoin(runs, OF_RUN)).where(MINE),
    "middle of a join": select(tasks.c.id)
    .select_from(tasks.join(runs, OF_RUN).join(messages, messages.c.run_id == runs.c.id))
    .where(MINE, messages.c.user_id == tenant()),
    "comma join": select(tasks.c.id).where(MINE, OF_RUN, runs.c.id == ONE),
    # Hidden.
    "scalar subquery": select(tasks.c.id, loose_runs.limit(1).scalar_subquery()).where(MINE),
    "subquery in from": select(loose_runs.subquery().c.id),
    "subquery in a subquery": select(select(loose_runs.subquery().c.id).subquery().c.id),
    "in": select(tasks.c.id).where(MINE, tasks.c.run_id.in_(loose_runs)),
    "exists": select(tasks.c.id).where(MINE, exists().where(OF_RUN)),
    "not exists": select(tasks.c.id).where(MINE, ~exists().where(other.c.run_id == tasks.c.run_id)),
    "exists in an or": select(tasks.c.id).where(MINE, or_(exists().where(OF_RUN), tasks.c.attempts == 1)),
    "exists in a case": select(case((exists().where(OF_RUN), 1))).where(MINE),
    "subquery in a function": select(func.coalesce(loose_runs.scalar_subquery(), tasks.c.id)).where(MINE),
    "subquery in order": select(tasks.c.id).where(MINE).order_by(loose_runs.scalar_subquery()),
    "subquery in limit": select(tasks.c.id).where(MINE).limit(select(func.count()).select_from(runs).scalar_subquery()),
    "subquery in having": select(tasks.c.id).where(MINE).group_by(tasks.c.id).having(exists().where(OF_RUN)),
    "subquery in an on": select(tasks.c.id).select_from(tasks.join(users, exists().where(OF_RUN))).where(MINE),
    "lateral": select(select(runs.c.id).where(OF_RUN).lateral("l").c.id, tasks.c.id).where(MINE),
    "cte": select(loose_runs.cte("loose").c.id),
    "cte beside": select(tasks.c.id).where(MINE).add_cte(loose_runs.cte("loose")),
    "cte that deletes": select(tasks.c.id).where(MINE).add_cte(delete(runs).returning(runs.c.id).cte("gone")),
    "cte that updates": select(tasks.c.id)
    .where(MINE)
    .add_cte(update(runs).values(usage={}).returning(runs.c.id).cte("changed")),
    "cte that inserts": select(tasks.c.id)
    .where(MINE)
    .add_cte(insert(runs).values(user_id=bindparam("user")).returning(runs.c.id).cte("made")),
    "cte on the table of the statement": select(tasks.c.id, select(tasks.c.id).cte("again").c.id).where(MINE),
    "cte on that table and another": select(
        tasks.c.id, select(tasks.c.id).where(MY_RUNS, OF_RUN).cte("both").c.id
    ).where(MINE),
    "one side of a union": union(select(tasks.c.id).where(MINE), select(tasks.c.id)),
    "one side of a union in from": select(union_all(loose_runs, my_runs).subquery().c.id),
    "update, subquery in where": update(tasks).where(MINE, tasks.c.run_id.in_(loose_runs)).values(status="held"),
    "update, subquery in values": update(tasks)
    .where(MINE)
    .values(error=select(runs.c.error).limit(1).scalar_subquery()),
    "update, subquery in returning": update(tasks)
    .where(MINE)
    .values(status="held")
    .returning(loose_runs.scalar_subquery()),
    "update, criterion on the other table": update(tasks).where(MY_RUNS, OF_RUN).values(status="held"),
    "delete, subquery in where": delete(tasks).where(MINE, tasks.c.run_id.in_(loose_runs)),
    "delete, criterion on the other table": delete(tasks).where(MY_RUNS, OF_RUN),
    # Rows for others.
    "insert without an owner": insert(tasks).values(id=bindparam("task")),
    "insert of nothing": insert(tasks),
    "insert for a parameter": insert(tasks).values(user_id=bindparam("user")),
    "insert for a literal": insert(tasks).values(user_id=ONE),
    "insert for a text": insert(tasks).values(user_id=text(":tenant")),
    "insert for several": insert(tasks).values([{"user_id": tenant()}, {"user_id": ONE}]),
    "insert with the tenant elsewhere": insert(tasks).values(id=tenant()),
    "insert of a subquery": insert(tasks).values(user_id=tenant(), run_id=loose_runs.scalar_subquery()),
    "insert from select without an owner": insert(messages).from_select(["id"], my_runs),
    "insert from select of another's": insert(messages).from_select(
        ["id", "user_id"], select(runs.c.id, runs.c.user_id).where(MY_RUNS)
    ),
    "insert from select for a parameter": insert(messages).from_select(
        ["id", "user_id"], select(runs.c.id, bindparam("user")).where(MY_RUNS)
    ),
    "insert from select with the tenant in the wrong place": insert(messages).from_select(
        ["user_id", "id"], select(runs.c.id, tenant()).where(MY_RUNS)
    ),
    "insert from a loose select": insert(messages).from_select(["user_id", "id"], select(tenant(), runs.c.id)),
}

TWICE = tasks.alias("once").alias("twice")
TASKS_IN_WORDS = table("tasks", any_column("id"))
TASKS_OF_ANOTHER = Table("tasks", MetaData(), Column("id", Integer))

HIDDEN: dict[str, Executable] = {
    # The tables that UPDATE and DELETE take in by naming their columns.
    "update from": update(tasks).where(MINE, OF_RUN).values(error=runs.c.error),
    "update from, named in values alone": update(tasks).where(MINE).values(error=runs.c.error),
    "update from an alias": update(tasks).where(MINE, other.c.run_id == tasks.c.run_id).values(error=other.c.error),
    "update from a cte": update(tasks).where(MINE, tasks.c.run_id == loose_runs.cte("x").c.id).values(status="held"),
    "update from a subquery": update(tasks)
    .where(MINE, tasks.c.run_id == loose_runs.subquery().c.id)
    .values(status="held"),
    "delete using": delete(tasks).where(MINE, OF_RUN),
    "delete using an alias": delete(tasks).where(MINE, other.c.run_id == tasks.c.run_id),
    # A subquery on the same table, which does not refer to the one around it.
    "same table, scalar": select(tasks.c.id, select(func.count()).select_from(tasks).scalar_subquery()).where(MINE),
    "same table, in": select(tasks.c.id).where(MINE, tasks.c.id.in_(select(tasks.c.id))),
    "same table, exists": select(tasks.c.id).where(MINE, exists().where(tasks.c.attempts == 1)),
    "same table, from": select(tasks.c.id, select(tasks.c.id).subquery().c.id).where(MINE),
    "same table, not correlated": select(
        tasks.c.id, my_runs.where(OF_RUN).correlate(None).limit(1).scalar_subquery()
    ).where(MINE),
    "same table, delete": delete(tasks).where(MINE, tasks.c.id.in_(select(tasks.c.id))),
    # Entities of the ORM.
    "update of an entity": update(Task).values(status="held"),
    "delete of an entity": delete(Task),
    "insert of an entity": insert(Task).values(user_id=bindparam("user")),
    # What SQLAlchemy does not know to be the table.
    "text": text("SELECT id FROM tasks"),
    "text with columns": text("SELECT id FROM tasks").columns(any_column("id")),
    "text in from": select(any_column("id")).select_from(text("tasks")),
    "text in where": select(tasks.c.id).where(MINE, text("EXISTS (SELECT FROM runs)")),
    "table in words": select(TASKS_IN_WORDS.c.id),
    "table of another description": select(TASKS_OF_ANOTHER.c.id),
    "alias of an alias": select(TWICE.c.id),
    "sample of a table": select(tablesample(tasks, 10).c.id),
    # An outer join's ON does not restrict its outer side.
    "outer join": select(runs.c.id).select_from(runs.outerjoin(tasks, and_(MY_RUNS, MINE))),
    "full join": select(runs.c.id).select_from(runs.join(tasks, and_(MY_RUNS, MINE), full=True)),
    # Rows that change hands.
    "update of the owner": update(tasks).where(MINE).values(user_id=bindparam("user")),
    "insert that updates another's row": postgres_insert(tasks)
    .values(user_id=tenant(), id=bindparam("task"))
    .on_conflict_do_update(index_elements=["id"], set_={"status": "held"}),
}


NOT_KNOWN: dict[str, Executable] = {
    "subquery in from": select(my_runs.subquery().c.id),
    "join with the tenants by an owner": select(tasks.c.id)
    .select_from(tasks.join(users, users.c.id == tasks.c.user_id))
    .where(MINE),
    "outer join": select(tasks.c.id).select_from(tasks.outerjoin(runs, and_(OF_RUN, MY_RUNS))).where(MINE),
    "text in a column": select(text("1"), tasks.c.id).where(MINE),
    "prefix": select(tasks.c.id).where(MINE).prefix_with("/* a comment */"),
}
"""Sound, but the check does not vouch for what it does not know."""


MY_MESSAGES = messages.c.user_id == tenant()

TWO_LEVELS: dict[str, Executable] = {
    "exists in exists": select(tasks.c.id).where(
        MINE,
        exists().where(
            MY_RUNS,
            exists().where(MY_MESSAGES, messages.c.run_id == tasks.c.run_id, messages.c.run_id == runs.c.id),
        ),
    ),
    "in in in": select(tasks.c.id).where(
        MINE,
        tasks.c.run_id.in_(
            select(runs.c.id).where(
                MY_RUNS,
                runs.c.id.in_(select(messages.c.run_id).where(MY_MESSAGES, messages.c.run_id == tasks.c.run_id)),
            )
        ),
    ),
}
"""A subquery is correlated to the statement directly around it, and to none further out."""


def cases(statements: dict[str, Executable]) -> Any:
    return pytest.mark.parametrize("statement", statements.values(), ids=statements.keys())


@cases(SOUND)
def test_a_sound_statement_is_accepted(statement: Executable) -> None:
    TenantStatement(statement)


@cases(UNSOUND)
def test_an_unsound_statement_is_refused(statement: Executable) -> None:
    with pytest.raises(TenantViolation):
        TenantStatement(statement)


@cases(HIDDEN)
def test_a_hidden_reach_past_the_tenant_is_refused(statement: Executable) -> None:
    with pytest.raises(TenantViolation):
        TenantStatement(statement)


@cases(TWO_LEVELS)
def test_a_table_of_a_statement_further_out_is_not_inherited(statement: Executable) -> None:
    with pytest.raises(TenantViolation):
        TenantStatement(statement)


@cases(NOT_KNOWN)
def test_a_form_that_the_check_does_not_know_is_refused(statement: Executable) -> None:
    with pytest.raises(TenantViolation):
        TenantStatement(statement)


TENANT_TABLES = [
    pytest.param(mapper.local_table, id=str(mapper.local_table))
    for mapper in sorted(Base.registry.mappers, key=str)
    if issubclass(mapper.class_, TenantOwned)
]


@pytest.mark.parametrize("owned", TENANT_TABLES)
def test_each_table_of_tenants_needs_the_criterion(owned: Any) -> None:
    mine = owned.c.user_id == tenant()
    around = runs.alias("around")
    a_column = next(column for column in owned.c if column.name != "user_id")
    change = {a_column: bindparam("changed")}
    keys = {column.name: bindparam(f"new_{column.name}") for column in owned.primary_key}
    for loose, confined in (
        (select(a_column), select(a_column).where(mine)),
        (update(owned).values(change), update(owned).where(mine).values(change)),
        (delete(owned), delete(owned).where(mine)),
        (
            insert(owned).values(keys | {"user_id": bindparam("user")}),
            insert(owned).values(keys | {"user_id": tenant()}),
        ),
        (
            select(around.c.id).where(around.c.user_id == tenant(), exists().select_from(owned)),
            select(around.c.id).where(around.c.user_id == tenant(), exists().select_from(owned).where(mine)),
        ),
    ):
        with pytest.raises(TenantViolation):
            TenantStatement(loose)
        TenantStatement(confined)


def test_every_table_with_an_owner_is_known_as_one() -> None:
    known = {str(parameter.values[0]) for parameter in TENANT_TABLES}
    assert known == {one.name for one in Base.metadata.sorted_tables if "user_id" in one.columns}


def test_the_refusal_names_the_table() -> None:
    with pytest.raises(TenantViolation, match="no tenant criterion on runs"):
        TenantStatement(select(tasks.c.id).where(MINE, OF_RUN))


# -- with which value it runs: sqlite is enough to see that ------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE workspaces (user_id CHAR(32), project_id CHAR(32), epoch BIGINT)")
        for owner in (ONE, TWO):
            connection.exec_driver_sql("INSERT INTO workspaces VALUES (?, ?, 7)", (owner.hex, owner.hex))
    yield engine
    engine.dispose()


workspaces = table_of(Workspace)
PROJECTS = TenantStatement(select(workspaces.c.project_id).where(workspaces.c.user_id == tenant()))
BUMP = TenantStatement(
    update(workspaces).where(workspaces.c.user_id == tenant()).values(epoch=bindparam("wanted", type_=Integer()))
)


@pytest.mark.parametrize("owner", [ONE, TWO])
def test_it_runs_for_the_user_of_the_session(engine: Engine, owner: UUID) -> None:
    with Database(engine).tenant_session(owner) as session:
        assert PROJECTS.execute(session, {}).scalars().all() == [owner]


def test_a_parameter_named_tenant_does_not_override_the_session(engine: Engine) -> None:
    with Database(engine).tenant_session(ONE) as session:
        assert PROJECTS.execute(session, {TENANT: TWO}).scalars().all() == [ONE]
        assert BUMP.execute(session, {TENANT: TWO, "wanted": 8}).rowcount == 1
        session.commit()
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT user_id, epoch FROM workspaces").all()
    assert dict(rows) == {ONE.hex: 8, TWO.hex: 7}


def test_the_statement_itself_does_not_choose_the_tenant(engine: Engine) -> None:
    chosen = TenantStatement(
        select(workspaces.c.project_id).where(workspaces.c.user_id == bindparam(TENANT, TWO, type_=tasks.c.id.type))
    )
    with Database(engine).tenant_session(ONE) as session:
        assert chosen.execute(session, {}).scalars().all() == [ONE]


@pytest.mark.parametrize("name", ["user_id", "epoch", "anything"])
def test_a_parameter_that_the_statement_does_not_have_is_refused(engine: Engine, name: str) -> None:
    """Core would take one with a column's name for a value to write."""
    with Database(engine).tenant_session(ONE) as session, pytest.raises(TenantViolation):
        BUMP.execute(session, {"wanted": 8, name: TWO})


def test_a_statement_that_calls_a_parameter_like_a_column_is_refused() -> None:
    with pytest.raises(TenantViolation):
        TenantStatement(update(tasks).where(MINE, tasks.c.id == bindparam("id")).values(status="held"))


@pytest.mark.parametrize("door", ["system", "directory", "nobody's"])
def test_a_session_without_a_tenant_can_not_run_it(engine: Engine, door: str) -> None:
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: sent.append(arguments[2]))
    database = Database(engine)
    opened = {
        "system": lambda: database.system_session("a test"),
        "directory": database.user_directory,
        "nobody's": database._sessions,
    }[door]
    with opened() as session, pytest.raises(TenantMissing):
        PROJECTS.execute(session, {TENANT: ONE})
    assert sent == []
