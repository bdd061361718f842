"""Everything that the database holds of a user."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from models import Base, User
from models.tenancy import Database

IN_MOTION = {("workspaces", name) for name in ("alive_until", "node_id", "epoch", "state")} | {
    ("runs", "announced_at"),
    ("tasks", "remembered_at"),
}
"""Columns that nodes keep writing while nobody asks for anything."""

Rows = dict[str, list[tuple[Any, ...]]]


def user_id(database: Database, subject: str) -> UUID:
    """Return the id of a user by the `sub` of its token."""
    with database.user_directory() as session:
        return session.scalars(select(User.id).where(User.subject == subject)).one()


def rows_of(database: Database, *owners: UUID) -> Rows:
    """Return every row of these users, table by table, without what nodes keep writing."""
    found: Rows = {}
    with database.system_session("a test compares rows") as session:
        for table in Base.metadata.sorted_tables:
            if "user_id" in table.columns:
                columns = [column for column in table.columns if (table.name, column.name) not in IN_MOTION]
                rows = session.execute(select(*columns).where(table.c.user_id.in_(owners)))
                found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found
