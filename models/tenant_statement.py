"""Core statements that carry the tenant criterion by themselves, for the few that run with each message.

The ORM adds the criterion to whatever is executed, at a price of about a third of a millisecond each time, and it has
no data-modifying CTEs. A `TenantStatement` is checked once, when it is made: each SELECT, UPDATE and DELETE in it says
`user_id = :tenant` of every table it touches (of `users`, which is the tenants' own list, `id = :tenant`), and each
INSERT sets `user_id` to `:tenant`. The value of `:tenant` is always that of the session, and a session without a tenant
can not execute it.

The check knows few forms and refuses all others, text above all: what it does not understand it can not vouch for.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import (
    CTE,
    CompoundSelect,
    CursorResult,
    Delete,
    FromClause,
    Insert,
    Join,
    Select,
    Table,
    Update,
    bindparam,
)
from sqlalchemy.dialects.postgresql.dml import OnConflictDoNothing
from sqlalchemy.orm import Session
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, Cast, ColumnClause, Label, TextClause
from sqlalchemy.sql.expression import Alias, Executable, TextualSelect

from models.base import Base, TenantOwned
from models.tenancy import TenantMissing, TenantViolation, own_columns, tenant_of

TENANT = "tenant"


def tenant() -> BindParameter[Any]:
    """Return the parameter that stands for the session's user."""
    return bindparam(TENANT)


def table_of(entity: type[Base]) -> Table:
    """Return the table of an ORM class, for statements in Core."""
    table = entity.__table__
    assert isinstance(table, Table)
    return table


class TenantStatement:
    """A statement that is confined to one user, whichever values it is executed with."""

    def __init__(self, statement: Any) -> None:
        """Check a statement.

        Raises:
            TenantViolation: a part of it could reach another user's rows, or is of a form that the check does not know.
        """
        self._statement: Executable = statement
        self._parameters = {part.key for part in visitors.iterate(statement) if isinstance(part, BindParameter)}
        if not isinstance(statement, Select | CompoundSelect | Insert | Update | Delete):
            raise TenantViolation(f"no statement that can be checked: {statement}")
        _walk(statement, frozenset())
        self._refuse_names_of_columns(statement)

    def execute(self, session: Session, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Run it for the session's user.

        Raises:
            TenantMissing: the session has no tenant.
            TenantViolation: a parameter is given that the statement does not have; SQLAlchemy would take one that has a
                column's name for a value to write.
        """
        user_id = tenant_of(session)
        if user_id is None:
            raise TenantMissing("this session has no tenant")
        if not parameters.keys() <= self._parameters:
            raise TenantViolation(f"unknown parameters: {sorted(parameters.keys() - self._parameters)}")
        return session.connection().execute(self._statement, {**parameters, TENANT: user_id})

    def _refuse_names_of_columns(self, statement: Any) -> None:
        for part in visitors.iterate(statement):
            if isinstance(part, Insert | Update):
                shared = self._parameters & set(part.table.c.keys())
                if shared:
                    raise TenantViolation(f"parameters named like columns: {sorted(shared)}")


def _walk(part: Any, outer: frozenset[FromClause]) -> None:
    """Check a part and those within it.

    Args:
        part: a statement, or a part of one.
        outer: the tables of the statement directly around it: SQLAlchemy correlates a subquery to no other.
    """
    own = _check(part, outer)
    match part:
        case Select() | Update() | Delete():
            inner = own
        case Insert() | CTE() | CompoundSelect():
            inner = frozenset()
        case _:
            inner = outer
    for child in part.get_children():
        _walk(child, inner)


def _check(part: Any, outer: frozenset[FromClause]) -> frozenset[FromClause]:
    """Check one part by itself; returns the tables that it touches."""
    match part:
        case TextClause() | TextualSelect():
            raise TenantViolation(f"text: {part}")
        case ColumnClause() if part.is_literal and part.name != "*":  # EXISTS (SELECT * ...) names nothing
            raise TenantViolation(f"text: {part}")
        case Select():
            return _check_select(part, outer)
        case Update() | Delete():
            return _check_change(part)
        case Insert():
            _check_insert(part)
    return frozenset()


def _check_select(part: Any, outer: frozenset[FromClause]) -> frozenset[FromClause]:
    _refuse_affixes(part)
    # Within a subquery that correlates by itself, a table of the statement around it is that statement's.
    inherited = outer if part._auto_correlate else frozenset()  # noqa: SLF001  # it has no accessor
    own = part.get_final_froms()
    # Where all would be inherited SQLAlchemy correlates none of them.
    sources = [source for source in own if source not in inherited] or own
    conditions = [part.whereclause, *(join.onclause for source in sources for join in _joins(source))]
    return _demand(part, (table for source in sources for table in _tables(source)), conditions)


def _check_change(part: Any) -> frozenset[FromClause]:
    _refuse_affixes(part)
    if isinstance(part, Update) and "user_id" in {getattr(name, "name", name) for name in part._values or {}}:  # noqa: SLF001
        raise TenantViolation(f"user_id is written in: {part}")
    if _is_users(part.table):
        raise TenantViolation(f"who the tenants are is not changed here: {part}")
    named = {column.table for column in own_columns(part) if column.table is not None}
    for source in named:
        if isinstance(source, CTE):
            _walk(source, frozenset())  # named by its columns alone, it is no child of the statement
    touched = (table for source in {part.table, *named} for table in _tables(source))
    return _demand(part, touched, [part.whereclause])


def _demand(part: Any, touched: Iterable[FromClause], conditions: Iterable[Any]) -> frozenset[FromClause]:
    tables = frozenset(touched)
    confined = {table for condition in conditions for table in _confined(condition)}
    if loose := tables - confined:
        raise TenantViolation(f"no tenant criterion on {', '.join(map(str, loose))} in: {part}")
    return tables


def _check_insert(part: Any) -> None:
    _refuse_affixes(part)
    conflict = part._post_values_clause  # noqa: SLF001  # none of these has an accessor
    if part._multi_values or not (conflict is None or isinstance(conflict, OnConflictDoNothing)):  # noqa: SLF001
        raise TenantViolation(f"an INSERT of a form that is not known here: {part}")
    list(_tables(part.table))
    if part.select is not None:
        names = list(part._select_names or ())  # noqa: SLF001
        value: Any = list(part.select.selected_columns)[names.index("user_id")] if "user_id" in names else None
    else:
        values = {getattr(name, "name", name): value for name, value in (part._values or {}).items()}  # noqa: SLF001
        value = values.get("user_id")
    if not _is_tenant(value):
        raise TenantViolation(f"user_id is not :{TENANT} in: {part}")


def _refuse_affixes(part: Any) -> None:
    if any(getattr(part, name, ()) for name in ("_prefixes", "_suffixes", "_statement_hints", "_hints")):
        raise TenantViolation(f"text before, behind or beside: {part}")


def _confined(clause: Any) -> Iterator[FromClause]:
    """Yield the tables for which a conjunction says `user_id = :tenant`, and `users` if it says so of `id`."""
    if isinstance(clause, BinaryExpression):
        column: Any = clause.left
        if clause.operator is operators.eq and _is_tenant(clause.right) and isinstance(column, ColumnClause):
            source: Any = column.table
            if column.name == ("id" if _is_users(getattr(source, "element", source)) else "user_id"):
                yield source
    elif getattr(clause, "operator", None) is operators.and_:
        for part in clause.get_children():
            yield from _confined(part)


def _is_tenant(value: Any) -> bool:
    """Whether a value is `:tenant`, be it labelled or cast."""
    match value:
        case BindParameter():
            return bool(value.key == TENANT and not value.expanding)
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
    """Yield the tables in a FROM, by themselves or under an alias; what a CTE yields is checked where it is.

    Raises:
        TenantViolation: it is none of these, or no tenant's table.
    """
    match source:
        case Join() if not (source.isouter or source.full):
            yield from _tables(source.left)
            yield from _tables(source.right)
        case CTE():
            return
        case Table() if _is_tenant_table(source):
            yield source
        case Alias() if (
            type(source) is Alias and isinstance(source.element, Table) and _is_tenant_table(source.element)
        ):
            yield source
        case _:
            raise TenantViolation(f"a source that is no tenant's table: {source}")


def _is_users(table: object) -> bool:
    return table is Base.metadata.tables.get("users")


def _is_tenant_table(table: Table) -> bool:
    return _is_users(table) or any(
        mapper.local_table is table for mapper in Base.registry.mappers if issubclass(mapper.class_, TenantOwned)
    )
