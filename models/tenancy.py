"""The tenant criterion that no query can forget.

Every session belongs to one user, or is opened through the one logged door `system_session(reason)`. A session without
either fails closed. In a tenant's session each ORM statement on a tenant table gets `user_id = :current`; Core and text
statements are refused, because the criterion can not reach into them; new rows are stamped and changed rows checked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Never
from uuid import UUID

import structlog
from sqlalchemy import (
    CTE,
    ColumnClause,
    Engine,
    FromClause,
    SelectBase,
    Table,
    TableSample,
    TextClause,
    event,
    func,
    inspect,
    select,
)
from sqlalchemy.dialects.postgresql.dml import OnConflictDoNothing
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, sessionmaker, with_loader_criteria
from sqlalchemy.orm.context import FromStatement
from sqlalchemy.sql import visitors

from models.base import Base, TenantOwned

log = structlog.get_logger(__name__)

_TENANT = "tenant"
_SYSTEM = "system"
_DIRECTORY = "directory"


class TenantViolation(Exception):
    """A statement or a row reached past its tenant."""


class TenantMissing(TenantViolation):
    """A session was used that belongs to no tenant."""


def tenant_of(session: Session) -> UUID | None:
    """Return whose session it is; `None` for the system's and for one that is nobody's."""
    tenant: UUID | None = session.info.get(_TENANT)
    return tenant


class TenantSession(Session):
    """A session that knows whose it is, or that it is the system's."""

    def _no_bulk(self, *_: Any, **__: Any) -> Never:
        """Refuse the bulk methods: they run past every hook.

        Raises:
            TenantViolation: always.
        """
        raise TenantViolation("the bulk methods run past the tenant criterion")

    bulk_save_objects = bulk_insert_mappings = bulk_update_mappings = _no_bulk


@event.listens_for(TenantSession, "do_orm_execute")
def _confine(state: ORMExecuteState) -> None:
    info = state.session.info
    if info.get(_SYSTEM):
        return
    tenant = info.get(_TENANT)
    if tenant is None and not info.get(_DIRECTORY):
        raise TenantMissing("this session has no tenant")
    _refuse_unreachable(state)
    if info.get(_DIRECTORY):
        _refuse_all_but_users(state)
    elif state.is_insert and tenant is not None:
        _check_inserted(state, tenant)
    else:
        state.statement = state.statement.options(
            with_loader_criteria(TenantOwned, lambda cls: cls.user_id == tenant, include_aliases=True),
            with_loader_criteria(_user_class(), lambda cls: cls.id == tenant, include_aliases=True),
        )


def _refuse_unreachable(state: ORMExecuteState) -> None:
    """Refuse what the criterion can not reach into: Core, text, sampled tables, and changes by primary key."""
    statement: Any = state.statement
    if not state.is_orm_statement or isinstance(statement, FromStatement):
        raise TenantViolation("Core and text statements are refused in a tenant's session")
    if state.is_update and (state.is_executemany or "user_id" in _written(statement)):
        raise TenantViolation("changes by primary key, and changes of user_id, are refused in a tenant's session")
    if state.is_update or state.is_delete:
        others = {column.table for column in own_columns(statement) if isinstance(column.table, FromClause)}
        if len(others | {statement.table}) > 1:
            raise TenantViolation("changes that read a second table are refused in a tenant's session")
    for part in visitors.iterate(statement):
        is_text = isinstance(part, TextClause | TableSample) or getattr(part, "is_literal", False)
        if is_text and getattr(part, "name", "") != "*":  # EXISTS (SELECT * ...) and count(*) name nothing
            raise TenantViolation(f"text and samples are refused in a tenant's session: {part}")


def own_columns(part: Any) -> Iterator[Any]:
    """Yield the columns that an UPDATE or DELETE names itself, not those in the statements within it."""
    waiting = [part]
    while waiting:
        for child in waiting.pop().get_children():
            if isinstance(child, ColumnClause):
                yield child
            elif not isinstance(child, SelectBase | CTE | Table):
                waiting.append(child)


def _written(statement: Any) -> set[str]:
    values = statement._values or {}  # noqa: SLF001  # it has no accessor
    return {str(getattr(name, "key", name)) for name in values}


def _refuse_all_but_users(state: ORMExecuteState) -> None:
    mapper = state.bind_mapper
    statement: Any = state.statement
    tables = {part.name for part in visitors.iterate(statement) if isinstance(part, Table)}
    if mapper is None or mapper.class_ is not _user_class() or tables - {mapper.local_table.description}:
        raise TenantViolation("the session that finds users touches nothing else")


def _user_class() -> type[Base]:
    """Return `models.User`, whose module imports this package's base as this one does."""
    from models.accounts import User

    return User


def _check_inserted(state: ORMExecuteState, tenant: UUID) -> None:
    """Refuse an ORM insert of rows that are not all the tenant's; rows come as parameters, so that they can be seen."""
    mapper = state.bind_mapper
    conflict = state.statement._post_values_clause  # type: ignore[attr-defined]  # noqa: SLF001  # it has no accessor
    if mapper is None or not (conflict is None or isinstance(conflict, OnConflictDoNothing)):
        raise TenantViolation("an INSERT of this form is refused in a tenant's session")
    if not issubclass(mapper.class_, TenantOwned):
        raise TenantViolation(f"{mapper.class_.__name__} is no tenant's table")
    parameters = state.parameters
    rows = [parameters] if isinstance(parameters, Mapping) else parameters or []
    if not rows or any(row.get("user_id") != tenant for row in rows):
        raise TenantViolation(f"rows of {mapper.class_.__name__} for another user, or given in another way")


@event.listens_for(TenantSession, "before_flush")
def _stamp_and_check(session: Session, _: UOWTransaction, __: object) -> None:
    if session.info.get(_SYSTEM):
        return
    tenant = session.info.get(_TENANT)
    if tenant is None:
        raise TenantMissing("this session has no tenant")
    for row in session.new:
        if isinstance(row, TenantOwned):
            if inspect(row).attrs.user_id.value is None:
                row.user_id = tenant
            _check_owner(row, tenant)
    for row in (*session.dirty, *session.deleted):
        _check_change(row, tenant)


def _check_change(row: object, tenant: UUID) -> None:
    state = inspect(row)
    owner = row.user_id if isinstance(row, TenantOwned) else state.identity[0]
    if owner != tenant:
        raise TenantViolation(f"{type(row).__name__} belongs to another user")
    if isinstance(row, TenantOwned) and state.attrs.user_id.history.has_changes():
        raise TenantViolation("user_id never changes")


@event.listens_for(TenantSession, "detached_to_persistent")
def _refuse_strangers(session: Session, row: object) -> None:
    """Refuse an object that this session did not load: what it says of its owner is a claim, not a fact."""
    if not session.info.get(_SYSTEM):
        raise TenantViolation(f"{type(row).__name__} was not loaded by this session")


def _check_owner(row: TenantOwned, tenant: UUID) -> None:
    if row.user_id != tenant:
        raise TenantViolation(f"{type(row).__name__} belongs to another user")


class Database:
    """Opens sessions on one engine. Nothing connects before the first statement."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, class_=TenantSession, expire_on_commit=False, autoflush=False)

    @contextmanager
    def tenant_session(self, user_id: UUID) -> Iterator[Session]:
        """Open a session of one user; commit is the caller's, anything else rolls back."""
        with self._sessions(info={_TENANT: user_id}) as session:
            yield session

    @contextmanager
    def system_session(self, reason: str) -> Iterator[Session]:
        """Open the one door past the criterion, for the sweeper, admin views and the task loader only.

        Args:
            reason: why, for the log.
        """
        log.debug("system_session", reason=reason)
        with self._sessions(info={_SYSTEM: reason}) as session:
            yield session

    @contextmanager
    def user_directory(self) -> Iterator[Session]:
        """Open a session that may touch `users` alone: it finds the tenant of a token, so it has none yet."""
        with self._sessions(info={_DIRECTORY: True}) as session:
            yield session

    @contextmanager
    def exclusively(self, number: int) -> Iterator[bool]:
        """Hold the deployment's lock of that number for the block; yields whether it was free.

        It is an advisory lock of the connection, so it ends with its holder, however that ends.
        """
        with self.engine.connect() as connection:
            held = bool(connection.execute(select(func.pg_try_advisory_lock(number))).scalar_one())
            connection.commit()
            try:
                yield held
            finally:
                if held:
                    connection.execute(select(func.pg_advisory_unlock(number)))
                    connection.commit()

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
