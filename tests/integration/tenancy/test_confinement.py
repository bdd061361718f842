"""The criterion that no query can forget: whatever a tenant's session is asked, it sees and changes its own rows only.

The system session and the session that finds users are held to what they are for, and a session that is nobody's to
nothing at all.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import (
    DDL,
    Select,
    and_,
    column,
    delete,
    exists,
    func,
    insert,
    inspect,
    lambda_stmt,
    literal,
    literal_column,
    or_,
    select,
    table,
    tablesample,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, aliased, make_transient_to_detached
from structlog.testing import capture_logs

from models import ChatSession, Message, Project, Run, User, UserAgent, new_id, utc_now
from models.tenancy import Database, TenantMissing, TenantSession, TenantViolation
from models.tenant_statement import TenantStatement, table_of, tenant
from tests.integration.tenancy.conftest import ENTITIES, Tenant

pytestmark = pytest.mark.stack

P = Project
T = table_of(Project)

Read = Callable[[Session, Tenant], Any]
"""Reads in one user's session; the tenant is the other one."""


def _alias(entity: type[Any]) -> Any:
    return aliased(entity)


# Reading ------------------------------------------------------------------------------------------------------------

READS: dict[str, Read] = {
    "objects": lambda s, o: [each.name for each in s.scalars(select(P))],
    "columns": lambda s, o: s.scalars(select(P.name)).all(),
    "an alias": lambda s, o: s.scalars(select(_alias(P).name)).all(),
    "the legacy query": lambda s, o: [each.name for each in s.query(P)],
    "a legacy query of columns": lambda s, o: [row[0] for row in s.query(P.name)],
    "a lambda": lambda s, o: s.scalars(lambda_stmt(lambda: select(P.name))).all(),
    "a derived table": lambda s, o: s.scalars(select(select(P.name).subquery().c.name)).all(),
    "a derived table of a derived table": lambda s, o: s.scalars(
        select(select(select(P.name).subquery().c.name).subquery().c.name)
    ).all(),
    "a CTE": lambda s, o: s.scalars(select(select(P.name).cte().c.name)).all(),
    "an entity over a derived table": lambda s, o: [
        each.name for each in s.scalars(select(aliased(P, select(P).subquery())))
    ],
    "a scalar subquery": lambda s, o: [s.scalar(select(select(func.max(P.name)).scalar_subquery()))],
    "a union": lambda s, o: sorted(set(s.scalars(union_all(select(P.name), select(_alias(P).name))))),
    "an intersection": lambda s, o: s.scalars(select(P.name).intersect(select(P.name))).all(),
    "a condition that is always true": lambda s, o: s.scalars(
        select(P.name).where(or_(P.user_id == o.user_id, true()))
    ).all(),
    "a join": lambda s, o: s.scalars(select(P.name).join(ChatSession, ChatSession.project_id == P.id)).all(),
    "a join with everything": lambda s, o: s.scalars(select(P.name).join(ChatSession, true())).all(),
    "the other side of a join": lambda s, o: s.scalars(
        select(ChatSession.title).select_from(P).join(ChatSession, true())
    ).all(),
    "an outer join": lambda s, o: s.scalars(
        select(ChatSession.title).select_from(P).outerjoin(ChatSession, true())
    ).all(),
    "a self-join": lambda s, o: s.scalars(select((a := _alias(P)).name).select_from(P).join(a, true())).all(),
    "a lateral": lambda s, o: s.scalars(
        select((q := select(ChatSession.title).where(ChatSession.project_id == P.id).lateral()).c.title)
        .select_from(P)
        .join(q, true())
    ).all(),
    "IN a subquery": lambda s, o: s.scalars(select(P.name).where(P.id.in_(select(ChatSession.project_id)))).all(),
    "EXISTS": lambda s, o: s.scalars(select(P.name).where(exists().where(ChatSession.project_id == P.id))).all(),
    "an order by a subquery": lambda s, o: s.scalars(
        select(P.name).order_by(select(func.count(Message.id)).scalar_subquery())
    ).all(),
    "no cache of compiled statements": lambda s, o: s.scalars(
        select(P.name), execution_options={"compiled_cache": None}
    ).all(),
    "rows as they come": lambda s, o: s.scalars(select(P.name).execution_options(yield_per=1)).all(),
    "objects read again": lambda s, o: [
        each.name for each in s.scalars(select(P).execution_options(populate_existing=True))
    ],
}
"""Each way returns the one word of the session's own user."""


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_every_way_to_read_finds_the_sessions_own_rows(
    database: Database, reader: Tenant, other: Tenant, read: Read
) -> None:
    with database.tenant_session(reader.user_id) as session:
        assert read(session, other) == [reader.word]


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_table_is_confined(database: Database, reader: Tenant, other: Tenant, entity: type[Any]) -> None:
    theirs = other.key(entity)
    with database.tenant_session(reader.user_id) as session:
        assert {row.user_id for row in session.scalars(select(entity))} == {reader.user_id}
        assert session.scalar(select(func.count()).select_from(entity)) == 1
        assert session.get(entity, theirs) is None
        assert session.get(entity, reader.key(entity)) is not None
        assert session.scalars(select(entity.user_id).where(entity.user_id == other.user_id)).all() == []
        assert session.scalar(select(exists(select(entity.user_id).where(entity.user_id == other.user_id)))) is False


def test_one_statement_serves_one_user_after_the_other(database: Database, reader: Tenant, other: Tenant) -> None:
    """SQLAlchemy keeps compiled statements: the user's id must not be kept with them."""
    statement = select(P.name)
    for tenant_ in (reader, other) * 10:
        with database.tenant_session(tenant_.user_id) as session:
            assert session.scalars(statement).all() == [tenant_.word]


def test_sessions_of_many_threads_do_not_mix_their_users(database: Database, reader: Tenant, other: Tenant) -> None:
    statement = select(P.name)

    def read(number: int) -> bool:
        tenant_ = (reader, other)[number % 2]
        with database.tenant_session(tenant_.user_id) as session:
            return session.scalars(statement).all() == [tenant_.word]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))


def test_the_criterion_is_there_again_after_commit_and_rollback(
    database: Database, reader: Tenant, other: Tenant
) -> None:
    with database.tenant_session(reader.user_id) as session:
        for step in (session.commit, session.rollback, session.expire_all, session.close):
            step()
            assert session.scalars(select(P.name)).all() == [reader.word]


def test_only_the_session_of_a_user_sees_that_user(database: Database, reader: Tenant, other: Tenant) -> None:
    with database.tenant_session(reader.user_id) as session:
        assert session.scalars(select(User.id)).all() == [reader.user_id]


def test_a_user_without_rows_sees_none(database: Database, other: Tenant) -> None:
    with database.tenant_session(uuid4()) as session:
        for entity in ENTITIES:
            assert session.scalars(select(entity)).all() == []


# Any statement at all: what it is put together from is confined, so the whole is.

entities = st.sampled_from([Project, ChatSession, UserAgent, Run, Message])


def _source(entity: type[Any], is_aliased: bool) -> Any:
    return aliased(entity) if is_aliased else entity


sources = st.builds(_source, entities, st.booleans())
simple = sources.map(lambda source: select(source.user_id))
limited = st.builds(
    lambda source, limit: select(source.user_id).order_by(source.user_id.desc()).limit(limit),
    sources,
    st.integers(0, 3),
)
joined = st.builds(
    lambda source, entity, is_outer: (
        select((second := aliased(entity)).user_id).select_from(source).join(second, true(), isouter=is_outer)
    ),
    sources,
    entities,
    st.booleans(),
)
doubtful = sources.map(lambda source: select(source.user_id).where(or_(true(), source.user_id == uuid4())))


def _around(inner: st.SearchStrategy[Select[Any]]) -> st.SearchStrategy[Select[Any]]:
    """Put statements into other statements, in every place where one may stand."""
    return st.one_of(
        inner.map(lambda one: select(one.subquery().c.user_id)),
        inner.map(lambda one: select(one.cte().c.user_id)),
        st.builds(lambda one, two: select(union_all(one, two).subquery().c.user_id), inner, inner),
        st.builds(lambda source, one: select(source.user_id).where(source.user_id.in_(one)), sources, inner),
        st.builds(lambda source, one: select(source.user_id).where(source.user_id.not_in(one)), sources, inner),
        st.builds(lambda source, one: select(source.user_id).where(one.exists()), sources, inner),
        st.builds(lambda source, one: select(source.user_id).where(~one.exists()), sources, inner),
        st.builds(
            lambda source, one: select((two := one.subquery()).c.user_id).select_from(source).join(two, true()),
            sources,
            inner,
        ),
    )


statements = st.recursive(st.one_of(simple, limited, joined, doubtful), _around, max_leaves=5)
"""Selects of owners' ids, put together from joins, subqueries, unions and conditions."""


@hypothesis_settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(statement=statements)
def test_no_statement_made_of_entities_finds_another_users_rows(
    database: Database, reader: Tenant, other: Tenant, statement: Select[Any]
) -> None:
    with database.tenant_session(reader.user_id) as session:
        assert set(session.scalars(statement)) <= {reader.user_id, None}


# Reaching for more --------------------------------------------------------------------------------------------------


def _unloaded(o: Tenant, **known: Any) -> Project:
    """Return an object for the other user's row as if it had been loaded."""
    project = P(id=o.key(P), **known)
    make_transient_to_detached(project)
    return project


def _touch(s: Session, project: Project) -> str:
    s.add(project)
    return project.name


def _refresh(s: Session, project: Project) -> str:
    s.add(project)
    s.refresh(project)
    return project.name


def _rename(s: Session, project: Project) -> None:
    s.add(project)
    project.name = "taken"


ATTEMPTS: dict[str, Read] = {
    # reading
    "text": lambda s, o: s.execute(text("SELECT * FROM projects")).all(),
    "text with columns": lambda s, o: s.execute(text("SELECT name FROM projects").columns(column("name"))).all(),
    "an entity from text": lambda s, o: [
        each.name for each in s.scalars(select(P).from_statement(text("SELECT * FROM projects")))
    ],
    "an entity from a Core statement": lambda s, o: [
        each.name for each in s.scalars(select(P).from_statement(select(T)))
    ],
    "a legacy query from text": lambda s, o: [
        each.name for each in s.query(P).from_statement(text("SELECT * FROM projects"))
    ],
    "Core": lambda s, o: s.execute(select(T)).all(),
    "Core under an alias": lambda s, o: s.execute(select(T.alias())).all(),
    "Core in a subquery": lambda s, o: s.execute(select(select(T).subquery())).all(),
    "Core with an entity in it": lambda s, o: s.execute(select(T.c.name).where(exists().where(P.id == T.c.id))).all(),
    "a table by its name": lambda s, o: s.execute(select(column("name")).select_from(table("projects"))).all(),
    "text as a table": lambda s, o: s.execute(select(literal_column("name")).select_from(text("projects"))).all(),
    "text as a column": lambda s, o: s.execute(select(literal_column("(SELECT max(name) FROM projects)"))).all(),
    "text as a column of an entity": lambda s, o: s.execute(
        select(P.id, literal_column("(SELECT string_agg(name, ',') FROM projects)"))
    ).all(),
    "text as a condition": lambda s, o: s.execute(
        select(P.name).where(text("true) UNION ALL (SELECT name FROM projects"))
    ).all(),
    "a sample": lambda s, o: s.execute(select(tablesample(P, 100))).all(),
    "an entity over a sample": lambda s, o: [each.name for each in s.scalars(select(aliased(P, tablesample(P, 100))))],
    "an EXISTS alone": lambda s, o: [o.word] if s.scalar(select(exists().where(P.id == o.key(P)))) else [],
    "an object that was not loaded": lambda s, o: _touch(s, _unloaded(o)),
    "an object that says it is the reader's": lambda s, o: _refresh(s, _unloaded(o, user_id=s.info["tenant"])),
    # writing
    "an update of all": lambda s, o: s.execute(update(P).values(name="taken")),
    "an update by its key": lambda s, o: s.execute(update(P).where(P.id == o.key(P)).values(name="taken")),
    "an update by its owner": lambda s, o: s.execute(update(P).where(P.user_id == o.user_id).values(name="taken")),
    "an update of an alias": lambda s, o: s.execute(
        update(P).where(P.id.in_(select(_alias(P).id))).values(name="taken")
    ),
    "an update with what another row says": lambda s, o: s.execute(
        update(P).values(description=(a := _alias(P)).name).where(a.id == o.key(P), P.id != a.id)
    ),
    "an update of many by their keys": lambda s, o: s.execute(update(P), [{"id": o.key(P), "name": "taken"}]),
    "a legacy update": lambda s, o: s.query(P).filter(P.id == o.key(P)).update({"name": "taken"}),
    "mappings to update": lambda s, o: s.bulk_update_mappings(inspect(P), [{"id": o.key(P), "name": "taken"}]),
    "a delete by its owner": lambda s, o: s.execute(delete(P).where(P.user_id == o.user_id)),
    "a delete by its key": lambda s, o: s.execute(delete(P).where(P.id == o.key(P))),
    "a legacy delete": lambda s, o: s.query(P).filter(P.id == o.key(P)).delete(),
    "an insert for another": lambda s, o: s.add(P(id=new_id(), user_id=o.user_id, name="planted")),
    "an insert statement for another": lambda s, o: s.execute(
        insert(P).values(id=new_id(), user_id=o.user_id, name="planted", created_at=utc_now(), updated_at=utc_now())
    ),
    "an insert of many for another": lambda s, o: s.execute(
        insert(P),
        [
            {"id": new_id(), "user_id": s.info["tenant"], "name": "mine"},
            {"id": new_id(), "user_id": o.user_id, "name": "planted"},
        ],
    ),
    "an insert with two owners": lambda s, o: s.execute(
        insert(P).values(user_id=o.user_id), [{"id": new_id(), "user_id": s.info["tenant"], "name": "planted"}]
    ),
    "an insert from what others have": lambda s, o: s.execute(
        insert(ChatSession).from_select(
            ["id", "user_id", "project_id", "title", "created_at"],
            select(
                func.gen_random_uuid(),
                literal(s.info["tenant"]),
                select(P.id).where(P.user_id == s.info["tenant"]).scalar_subquery(),
                T.c.name,
                func.now(),
            ),
        )
    ),
    "an insert that changes what is there": lambda s, o: s.execute(
        postgres_insert(P).on_conflict_do_update(index_elements=["id"], set_={"name": "taken"}),
        [{"id": o.key(P), "user_id": s.info["tenant"], "name": "x"}],
    ),
    "mappings to insert": lambda s, o: s.bulk_insert_mappings(
        inspect(P), [{"id": new_id(), "user_id": o.user_id, "name": "planted"}]
    ),
    "objects to save": lambda s, o: s.bulk_save_objects([P(id=new_id(), user_id=o.user_id, name="planted")]),
    "a row that is merged": lambda s, o: s.merge(P(id=o.key(P), name="taken")),
    "a row of a key that is there": lambda s, o: s.add(P(id=o.key(P), name="taken")),
    "an object that claims to be the writer's": lambda s, o: _rename(
        s, _unloaded(o, user_id=s.info["tenant"], name="x")
    ),
    "an object that is deleted unloaded": lambda s, o: s.delete(_unloaded(o, user_id=s.info["tenant"])),
    "a row that changes hands": lambda s, o: setattr(s.scalars(select(P)).one(), "user_id", o.user_id),
    "rows that change hands": lambda s, o: s.execute(update(P).values(user_id=o.user_id, is_default=False)),
    "rows that change hands in a given order": lambda s, o: s.execute(
        update(P).ordered_values((P.user_id, o.user_id), (P.is_default, False))
    ),
    "rows that change hands by parameters": lambda s, o: s.execute(
        update(P).where(P.id.is_not(None)), {"user_id": o.user_id, "is_default": False}
    ),
    "one row by its key as a parameter": lambda s, o: s.execute(update(P), {"id": o.key(P), "name": "taken"}),
    "rows of a child that change hands": lambda s, o: s.execute(
        update(Message).values(user_id=o.user_id, run_id=o.key(Run), session_id=o.key(ChatSession), agent_id=None)
    ),
    "text that writes": lambda s, o: s.execute(
        text(f"UPDATE projects SET name = 'taken' WHERE user_id = '{o.user_id}'")
    ),
    "Core that updates": lambda s, o: s.execute(update(T).values(name="taken").where(T.c.user_id == o.user_id)),
    "Core that deletes": lambda s, o: s.execute(delete(T).where(T.c.user_id == o.user_id)),
    "Core that inserts": lambda s, o: s.execute(insert(T).values(id=new_id(), user_id=o.user_id, name="planted")),
    "a definition": lambda s, o: s.execute(DDL("COMMENT ON TABLE projects IS 'taken'")),
    "the other user itself": lambda s, o: s.execute(delete(User).where(User.id == o.user_id)),
    "the other user's name": lambda s, o: s.execute(update(User).where(User.id == o.user_id).values(email="a@b.c")),
}


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_no_attempt_reaches_another_user(database: Database, attacker: Tenant, victim: Tenant, attempt: Read) -> None:
    """Refused or without effect, both are right; seen, changed or planted is not."""
    before = victim.everything()
    seen = None
    with database.tenant_session(attacker.user_id) as session:
        try:
            seen = attempt(session, victim)
            session.commit()
        except (TenantViolation, SQLAlchemyError):
            session.rollback()
    assert victim.word not in repr(seen)
    assert victim.everything() == before
    assert victim.word not in repr(attacker.everything())


REFUSED = (
    "text",
    "text with columns",
    "text that writes",
    "Core",
    "Core under an alias",
    "Core in a subquery",
    "Core that updates",
    "Core that deletes",
    "Core that inserts",
    "a definition",
    "a table by its name",
    "text as a table",
    "an insert for another",
    "an insert statement for another",
    "an insert of many for another",
    "a row that changes hands",
)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_confined_is_refused_by_name(database: Database, writer: Tenant, other: Tenant, name: str) -> None:
    with database.tenant_session(writer.user_id) as session, pytest.raises(TenantViolation):
        ATTEMPTS[name](session, other)
        session.commit()


@pytest.mark.parametrize("entity", [each for each in ENTITIES if hasattr(each, "id")])
def test_updates_and_deletes_stay_with_the_user_in_every_table(
    database: Database, writer: Tenant, other: Tenant, entity: type[Any]
) -> None:
    before = other.everything()
    with database.tenant_session(writer.user_id) as session:
        session.execute(update(entity).values(created_at=utc_now()))
        session.execute(delete(entity))
        session.commit()
    assert other.everything() == before
    with database.system_session("a test looks") as session:
        assert session.scalar(select(func.count()).select_from(entity).where(entity.user_id == writer.user_id)) == 0


def test_a_new_row_without_an_owner_is_the_sessions(database: Database, writer: Tenant) -> None:
    with database.tenant_session(writer.user_id) as session:
        project = P(name="without an owner")
        session.add(project)
        session.commit()
    assert project.user_id == writer.user_id


# Sessions that are no user's ----------------------------------------------------------------------------------------

NOBODYS: dict[str, Callable[[Session, Tenant], Any]] = {
    "select": lambda s, o: s.scalars(select(P)).all(),
    "select of users": lambda s, o: s.scalars(select(User.id)).all(),
    "get": lambda s, o: s.get(P, o.key(P)),
    "update": lambda s, o: s.execute(update(P).values(name="taken")),
    "delete": lambda s, o: s.execute(delete(P)),
    "insert": lambda s, o: s.execute(insert(P), [{"id": new_id(), "user_id": o.user_id, "name": "planted"}]),
    "Core": lambda s, o: s.execute(select(T)).all(),
    "Core that writes": lambda s, o: s.execute(update(T).values(name="taken").where(T.c.user_id == o.user_id)),
    "text": lambda s, o: s.execute(text("SELECT 1")).all(),
    "text that writes": lambda s, o: s.execute(
        text(f"UPDATE projects SET name = 'taken' WHERE user_id = '{o.user_id}'")
    ),
    "nothing in particular": lambda s, o: s.scalar(select(func.now())),
    "a new row": lambda s, o: (s.add(P(name="planted")), s.flush()),
    "a new row with its owner": lambda s, o: (s.add(P(user_id=o.user_id, name="planted")), s.flush()),
    "a new user": lambda s, o: (s.add(User(subject=uuid4().hex)), s.flush()),
    "a deleted row": lambda s, o: (s.delete(_unloaded(o, user_id=o.user_id)), s.flush()),
    "a changed row": lambda s, o: (_rename(s, _unloaded(o, user_id=o.user_id, name="x")), s.flush()),
    "mappings": lambda s, o: s.bulk_insert_mappings(
        inspect(P), [{"id": new_id(), "user_id": o.user_id, "name": "planted"}]
    ),
    "objects": lambda s, o: s.bulk_save_objects([P(id=new_id(), user_id=o.user_id, name="planted")]),
    "a checked statement": lambda s, o: TenantStatement(select(T.c.name).where(T.c.user_id == tenant())).execute(s, {}),
}


@pytest.mark.parametrize("use", NOBODYS.values(), ids=NOBODYS)
def test_a_session_without_a_tenant_fails_closed(database: Database, other: Tenant, use: Read) -> None:
    before = other.everything()
    with TenantSession(database.engine) as session, pytest.raises(TenantViolation):
        use(session, other)
        session.commit()
    assert other.everything() == before


DIRECTORY: dict[str, Callable[[Session, Tenant], Any]] = {
    name: NOBODYS[name] for name in NOBODYS if name not in {"select of users", "nothing in particular", "a new user"}
} | {
    "a table by its name": ATTEMPTS["a table by its name"],
    "text as a column": ATTEMPTS["text as a column"],
    "text as a table": ATTEMPTS["text as a table"],
    "EXISTS over a tenant's table": lambda s, o: s.scalar(select(exists().where(P.id == o.key(P)))),
    "users joined with a tenant's table": lambda s, o: s.execute(
        select(User.subject).join(P, and_(P.user_id == User.id, P.is_default))
    ).all(),
}


@pytest.mark.parametrize("use", DIRECTORY.values(), ids=DIRECTORY)
def test_the_session_that_finds_users_touches_nothing_else(database: Database, other: Tenant, use: Read) -> None:
    before = other.everything()
    with database.user_directory() as session, pytest.raises(TenantViolation):
        use(session, other)
        session.commit()
    assert other.everything() == before


def test_the_session_that_finds_users_finds_them(database: Database, other: Tenant) -> None:
    with database.user_directory() as session:
        assert session.scalar(select(User.id).where(User.subject == other.word)) == other.user_id


def test_the_system_session_sees_everything_and_says_why(database: Database, reader: Tenant, other: Tenant) -> None:
    with capture_logs() as logs, database.system_session("a test looks at everything") as session:
        assert {reader.word, other.word} <= set(session.scalars(select(P.name)))
    assert logs == [{"event": "system_session", "reason": "a test looks at everything", "log_level": "debug"}]


# Keys that go through the owner: they hold whatever session writes --------------------------------------------------

KEYS = [
    (entity, key)
    for entity in ENTITIES
    for key in entity.__table__.foreign_key_constraints
    if key.referred_table.name != "users"
]
ENTITY_OF = {entity.__table__.name: entity for entity in ENTITIES}


@pytest.mark.parametrize(("entity", "key"), KEYS, ids=lambda value: getattr(value, "name", None) or value.__name__)
def test_no_row_hangs_under_another_users_parent(
    database: Database, writer: Tenant, other: Tenant, entity: type[Any], key: Any
) -> None:
    """Also past the criterion, in a system session: the database itself refuses."""
    rows = entity.__table__
    leading = key.elements[0].parent.name
    parent = other.key(ENTITY_OF[key.referred_table.name])
    is_itself = key.referred_table is rows
    own = writer.rows[entity].id if is_itself else getattr(writer.rows[entity], leading)
    assert own is not None
    with database.system_session("a test tries to cross users") as session:
        where = rows.c.user_id == writer.user_id
        session.execute(update(rows).where(where).values({leading: own}))
        if not is_itself:
            # Names are unique within a parent: that must not be what refuses.
            session.execute(delete(rows).where(rows.c.user_id == other.user_id))
        with pytest.raises(IntegrityError, match="foreign key"):
            session.execute(update(rows).where(where).values({leading: parent}))


@pytest.mark.parametrize("entity", ENTITIES)
def test_no_row_changes_its_owner_in_place(
    database: Database, writer: Tenant, other: Tenant, entity: type[Any]
) -> None:
    """What hangs on a parent can not be handed over alone, and a project not without all that hangs on it."""
    rows = entity.__table__
    with database.system_session("a test tries to cross users") as session, pytest.raises(IntegrityError):
        session.execute(update(rows).where(rows.c.user_id == writer.user_id).values(user_id=other.user_id))


# Statements that carry the criterion by themselves ------------------------------------------------------------------


def test_a_checked_statement_serves_the_sessions_user_whatever_it_is_given(
    database: Database, reader: Tenant, other: Tenant
) -> None:
    statement = TenantStatement(select(T.c.name).where(T.c.user_id == tenant()))
    for given_parameters in ({}, {"tenant": other.user_id}):
        with database.tenant_session(reader.user_id) as session:
            assert statement.execute(session, given_parameters).scalars().all() == [reader.word]


def test_a_checked_statement_takes_no_parameter_that_it_does_not_have(
    database: Database, writer: Tenant, other: Tenant
) -> None:
    """SQLAlchemy takes a parameter with a column's name for a value to write."""
    before = other.everything()
    statement = TenantStatement(update(T).values(name="mine").where(T.c.user_id == tenant()))
    with database.tenant_session(writer.user_id) as session:
        try:
            statement.execute(session, {"user_id": other.user_id, "is_default": False})
            session.commit()
        except (TenantViolation, SQLAlchemyError):
            session.rollback()
    assert other.everything() == before
    assert len(writer.everything()["projects"]) == 1


def test_a_checked_statement_needs_a_user(database: Database) -> None:
    statement = TenantStatement(select(T.c.name).where(T.c.user_id == tenant()))
    for open_session in (
        lambda: TenantSession(database.engine),
        lambda: database.system_session("a test"),
        database.user_directory,
    ):
        with open_session() as session, pytest.raises(TenantMissing):
            statement.execute(session, {})
