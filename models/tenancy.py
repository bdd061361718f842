"""The tenant criterion that no query can forget.

Every session belongs to one user, or is opened through the one logged door `system_session(reason)`. A session without
either fails closed. In a tenant's session each ORM statement on a tenant table gets `user_id = :current`; Core and text
statements are refused, because the criterion can not reach into them; new rows are stamped and changed rows checked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, Table, event, inspect
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, sessionmaker, with_loader_criteria
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


def _tenant_tables() -> frozenset[str]:
    return frozenset(
        mapper.local_table.name
        for mapper in Base.registry.mappers
        if issubclass(mapper.class_, TenantOwned) and isinstance(mapper.local_table, Table)
    )


@event.listens_for(TenantSession, "do_orm_execute")
def _confine(state: ORMExecuteState) -> None:
    info = state.session.info
    if info.get(_SYSTEM):
        return
    if info.get(_DIRECTORY):
        _refuse_core(state.statement)
        return
    tenant = info.get(_TENANT)
    if tenant is None:
        raise TenantMissing("this session has no tenant")
    if not _is_orm(state):
        _refuse_core(state.statement)
        return
    if state.is_insert:
        _check_inserted(state, tenant)
        return
    if state.is_column_load or state.is_relationship_load:
        return  # they carry the criterion of the statement that loaded their parent
    state.statement = state.statement.options(
        with_loader_criteria(
            TenantOwned,
            lambda cls: cls.user_id == tenant,
            include_aliases=True,
            propagate_to_loaders=True,
        )
    )


def _is_orm(state: ORMExecuteState) -> bool:
    return bool(state.is_orm_statement)


def _refuse_core(statement: Any) -> None:
    names = {element.name for element in visitors.iterate(statement) if isinstance(element, Table)}
    if statement.is_text or names & _tenant_tables():
        raise TenantViolation("Core and text statements are refused in a tenant's session")


def _check_inserted(state: ORMExecuteState, tenant: UUID) -> None:
    """Refuse an ORM insert of rows that are not all the tenant's; rows come as parameters, so that they can be seen."""
    mapper = state.bind_mapper
    if mapper is None or not issubclass(mapper.class_, TenantOwned):
        return
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
        if isinstance(row, TenantOwned):
            _check_owner(row, tenant)


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

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
