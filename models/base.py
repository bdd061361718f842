"""What every table shares: the declarative base, key and time columns, and the mark of tenant tables."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Enum, ForeignKeyConstraint, MetaData, UniqueConstraint, types
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

Json = dict[str, Any]
"""A JSON object in a column."""


def utc_now() -> datetime:
    """Return the present time, with its zone."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Return a UUID of version 7: it sorts by the time it was made."""
    return uuid7()


class Base(DeclarativeBase):
    """The base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a plain class attribute
        datetime: DateTime(timezone=True),
        UUID: types.Uuid(),
        Json: JSONB(none_as_null=True),
    }


class WithId:
    """A table with a time-ordered key of its own."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)


class WithCreated:
    """A table whose rows know when they were made."""

    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class TenantOwned:
    """A table of one user's rows. Every ORM statement on it gets `user_id = :current` (see `tenancy`)."""

    user_id: Mapped[UUID] = mapped_column()


def tenant_key(table: str, *within: str) -> UniqueConstraint:
    """Return the key that children of `table` refer to, so that no row hangs under another user's parent.

    Args:
        table: the table's name.
        within: further columns that a child has in common with its parent, such as `project_id`.
    """
    columns = ("id", *within, "user_id")
    return UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def belongs_to(parent: str, column: str, *within: str, ondelete: str = "CASCADE") -> ForeignKeyConstraint:
    """Return the composite foreign key `(column, *within, user_id) -> parent(id, *within, user_id)`."""
    own = [column, *within, "user_id"]
    return ForeignKeyConstraint(own, [f"{parent}.{name}" for name in ("id", *own[1:])], ondelete=ondelete)


def status_column(enum: type[StrEnum], name: str) -> Enum:
    """Return a text column that takes the enum's values only (no native type: those are awkward to migrate)."""
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=False,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


def status_check(column: str, enum: type[StrEnum]) -> CheckConstraint:
    """Return the constraint that holds `column` to the enum's values in the database itself."""
    values = ", ".join(f"'{member.value}'" for member in enum)
    return CheckConstraint(f"{column} IN ({values})", name=f"{column}_known")
