"""Lists by pages: `limit` with `offset` or with a cursor, newest or oldest first, and the total."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from workspace.errors import InvalidInput

Item = TypeVar("Item")

MAX_LIMIT = 100
DEFAULT_LIMIT = 20


class Order(StrEnum):
    """The order of a list; ids sort by the time they were made."""

    OLDEST = "created_at"
    NEWEST = "-created_at"


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """Which part of a list is wanted."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0
    cursor: str | None = None
    """`next_cursor` of the page before: the id after which to go on."""
    order: Order = Order.OLDEST


class Page(NamedTuple, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    total: int
    next_cursor: str | None


def fetch_page(session: Session, query: Select[Any], entity: type[Any], request: PageRequest) -> Page[Any]:
    """Return a page of `query`, whose rows are `entity` objects with a time-ordered `id`.

    Raises:
        InvalidInput: the cursor is no cursor, or comes with an offset.
    """
    total = session.execute(select(func.count()).select_from(query.order_by(None).subquery())).scalar_one()
    newest = request.order is Order.NEWEST
    query = query.order_by(entity.id.desc() if newest else entity.id)
    if request.cursor is not None:
        after = parse_cursor(request)
        query = query.where(entity.id < after if newest else entity.id > after)
    rows = list(session.scalars(query.offset(request.offset).limit(request.limit + 1)))
    items = rows[: request.limit]
    more = len(rows) > request.limit
    return Page(items, total, str(items[-1].id) if more else None)


def parse_cursor(request: PageRequest) -> UUID:
    """Return the id that a cursor stands for.

    Raises:
        InvalidInput: it is no cursor, or comes with an offset.
    """
    if request.offset:
        raise InvalidInput("Give a cursor or an offset, not both.")
    try:
        return UUID(request.cursor)
    except (ValueError, TypeError) as error:
        raise InvalidInput("The cursor is not one of this list.") from error
