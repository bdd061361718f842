"""Pages of any list, whatever its length, the pages' size and the direction: each item once and in order.

The query runs in SQLite's memory: what is tested is which rows are asked for, not how a database finds them.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Uuid, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from workspace.errors import InvalidInput
from workspace.paging import DEFAULT_LIMIT, MAX_LIMIT, Order, PageRequest, fetch_page, parse_cursor


class Base(DeclarativeBase):
    type_annotation_map = {UUID: Uuid()}  # noqa: RUF012  # SQLAlchemy reads it


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    is_odd: Mapped[bool] = mapped_column()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as opened:
        yield opened


def fill(session: Session, count: int) -> list[UUID]:
    """Make that many things; returns their ids, oldest first."""
    ids = [UUID(int=number + 1) for number in range(count)]
    if ids:
        session.execute(insert(Thing), [{"id": each, "is_odd": number % 2 == 1} for number, each in enumerate(ids)])
    return ids


quick = hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
directions = st.sampled_from(Order)


@quick
@given(count=st.integers(0, 25), limit=st.integers(1, 12), order=directions)
def test_cursors_lead_through_every_list_once(session: Session, count: int, limit: int, order: Order) -> None:
    ids = fill(session, count)
    seen: list[UUID] = []
    cursor: str | None = None
    while True:
        page = fetch_page(session, select(Thing), Thing, PageRequest(limit=limit, cursor=cursor, order=order))
        assert page.total == count
        assert len(page.items) <= limit
        seen += [each.id for each in page.items]
        assert len(seen) <= len(ids)
        if page.next_cursor is None:
            break
        assert len(page.items) == limit
        cursor = page.next_cursor
    assert seen == (ids if order is Order.OLDEST else ids[::-1])
    session.rollback()


@quick
@given(count=st.integers(0, 25), limit=st.integers(1, 12), offset=st.integers(0, 30), order=directions)
def test_an_offset_is_a_slice(session: Session, count: int, limit: int, offset: int, order: Order) -> None:
    ids = fill(session, count)
    page = fetch_page(session, select(Thing), Thing, PageRequest(limit=limit, offset=offset, order=order))
    ordered = ids if order is Order.OLDEST else ids[::-1]
    assert [each.id for each in page.items] == ordered[offset : offset + limit]
    assert page.total == count
    assert (page.next_cursor is not None) == (offset + limit < count)
    session.rollback()


@quick
@given(count=st.integers(0, 25), limit=st.integers(1, 12))
def test_a_filter_counts_and_pages_what_it_lets_through(session: Session, count: int, limit: int) -> None:
    ids = fill(session, count)[1::2]
    seen: list[UUID] = []
    cursor: str | None = None
    while True:
        query = select(Thing).where(Thing.is_odd)
        page = fetch_page(session, query, Thing, PageRequest(limit=limit, cursor=cursor))
        assert page.total == len(ids)
        seen += [each.id for each in page.items]
        assert len(seen) <= len(ids)
        if (cursor := page.next_cursor) is None:
            break
    assert seen == ids
    session.rollback()


def test_a_cursor_whose_item_is_gone_goes_on_behind_it(session: Session) -> None:
    fill(session, 3)
    page = fetch_page(session, select(Thing), Thing, PageRequest(cursor=str(UUID(int=2))))
    assert [each.id.int for each in page.items] == [3]
    between = fetch_page(session, select(Thing), Thing, PageRequest(cursor=str(UUID(int=99))))
    assert between.items == []
    assert between.next_cursor is None
    session.rollback()


@pytest.mark.parametrize("cursor", ["", "x", "1", "\0", "0" * 33, "{}", None, "00000000-0000-0000-0000-00000000000g"])
def test_what_is_no_cursor_is_refused(cursor: Any) -> None:
    with pytest.raises(InvalidInput, match="not one of this list"):
        parse_cursor(PageRequest(cursor=cursor))


def test_a_cursor_with_an_offset_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not both"):
        parse_cursor(PageRequest(cursor=str(UUID(int=1)), offset=1))


@given(some=st.uuids())
def test_a_cursor_is_an_id(some: UUID) -> None:
    assert parse_cursor(PageRequest(cursor=str(some))) == some


@given(text=st.text(max_size=40))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        assert isinstance(parse_cursor(PageRequest(cursor=text)), UUID)


def test_the_limits_are_these() -> None:
    assert (DEFAULT_LIMIT, MAX_LIMIT) == (20, 100)
    assert [each.value for each in Order] == ["created_at", "-created_at"]
