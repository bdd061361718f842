"""Core statements that carry the tenant criterion by themselves, for the few that run with each message.

The ORM adds the criterion to whatever is executed, at a price of about a third of a millisecond each time, and it has
no data-modifying CTEs. A `TenantStatement` is checked once, when it is made: each SELECT, UPDATE and DELETE in it names
`user_id = :tenant` for every tenant table it touches, and each INSERT sets `user_id` to `:tenant`. The value of
`:tenant` is always that of the session, and a session without a tenant can not execute it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import CTE, CursorResult, Delete, FromClause, Insert, Join, Select, Table, Update, bindparam
from sqlalchemy.orm import Session
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, Cast, Label
from sqlalchemy.sql.expression import Alias, Executable

from models.base import Base, TenantOwned
from models.tenancy import TenantMissing, TenantViolation, tenant_of

TENANT = "tenant"


def tenant() -> BindParameter[Any]:
    """Return the parameter that stands for the session's user."""
    return bindparam(TENANT)


class TenantStatement:
    """A statement that is confined to one user, whichever values it is executed with."""

    def __init__(self, statement: Executable) -> None:
        """Check a statement.

        Raises:
            TenantViolation: a part of it could reach another user's rows.
        """
        _walk(statement, frozenset())
        self._statement = statement

    def execute(self, session: Session, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Run it for the session's user.

        Raises:
            TenantMissing: the session has no tenant.
        """
        user_id = tenant_of(session)
        if user_id is None:
            raise TenantMissing("this session has no tenant")
        return session.connection().execute(self._statement, {**parameters, TENANT: user_id})


def _walk(part: Any, outer: frozenset[FromClause]) -> None:
    """Check a part and those within it; `outer` are the tables of the statements around it, which it may refer to."""
    if isinstance(part, CTE):
        outer = frozenset()  # it stands by itself
    inner = outer | _check(part, outer)
    for child in part.get_children():
        _walk(child, inner)


def _check(part: Any, outer: frozenset[FromClause]) -> frozenset[FromClause]:
    """Check one statement; returns the tables it touches."""
    match part:
        case Select():
            sources = [source for source in part.get_final_froms() if source not in outer]
            clauses = [part.whereclause, *(join.onclause for source in sources for join in _joins(source))]
        case Update() | Delete():
            sources, clauses = [part.table], [part.whereclause]
        case Insert():
            _check_insert(part)
            return frozenset()
        case _:
            return frozenset()
    touched = frozenset(table for source in sources for table in _tables(source))
    confined = {table for clause in clauses for table in _confined(clause)}
    if loose := touched - confined:
        raise TenantViolation(f"no tenant criterion on {', '.join(map(str, loose))} in: {part}")
    return touched


def _check_insert(part: Insert) -> None:
    if not (isinstance(part.table, Table) and _is_tenant_table(part.table)):
        return
    if part.select is not None:
        names = list(part._select_names or ())  # noqa: SLF001  # the columns of INSERT ... SELECT have no other accessor
        column: Any = list(part.select.selected_columns)[names.index("user_id")] if "user_id" in names else None
    else:
        values = {getattr(name, "name", name): value for name, value in (part._values or {}).items()}  # noqa: SLF001
        column = values.get("user_id")
    if not _is_tenant(column):
        raise TenantViolation(f"user_id is not :{TENANT} in: {part}")


def _confined(clause: Any) -> Iterator[FromClause]:
    """Yield the tables for which a conjunction says `user_id = :tenant`."""
    if clause is None:
        return
    if isinstance(clause, BinaryExpression):
        column: Any = clause.left
        if clause.operator is operators.eq and _is_tenant(clause.right) and getattr(column, "name", "") == "user_id":
            yield column.table
    elif getattr(clause, "operator", None) is operators.and_:
        for part in clause.get_children():
            yield from _confined(part)


def _is_tenant(value: Any) -> bool:
    """Whether a value is `:tenant`, be it labelled or cast."""
    match value:
        case BindParameter():
            return bool(value.key == TENANT)
        case Label():
            return _is_tenant(value.element)
        case Cast():
            return _is_tenant(value.clause)
        case _:
            return False


def _joins(source: FromClause) -> Iterator[Join]:
    if isinstance(source, Join):
        yield source
        yield from _joins(source.left)
        yield from _joins(source.right)


def _tables(source: Any) -> Iterator[FromClause]:
    """Yield the tenant tables in a FROM, by themselves or under an alias; what a CTE yields is checked where it is."""
    if isinstance(source, Join):
        yield from _tables(source.left)
        yield from _tables(source.right)
        return
    table = source.element if isinstance(source, Alias) else source
    if isinstance(table, Table) and _is_tenant_table(table):
        yield source


def _is_tenant_table(table: Table) -> bool:
    return any(
        mapper.local_table is table for mapper in Base.registry.mappers if issubclass(mapper.class_, TenantOwned)
    )


def table_of(entity: type[Base]) -> Table:
    """Return the table of an ORM class, for statements in Core."""
    table = entity.__table__
    assert isinstance(table, Table)
    return table
