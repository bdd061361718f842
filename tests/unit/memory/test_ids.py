"""Ids of memories: their order is that of the time, and the same words make the same one."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import new_id
from workspace.memory.ids import first_millisecond, made_at, memory_id, milliseconds_of, to_milliseconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
moments = st.datetimes(min_value=EPOCH.replace(tzinfo=None), timezones=st.just(UTC))


@given(moments, st.lists(st.text(), max_size=3))
def test_an_id_tells_when_it_was_made_and_is_a_uuid_of_version_7(at: datetime, seed: list[str]) -> None:
    id_ = memory_id(at, *seed)
    assert (id_.version, id_.variant) == (7, UUID(int=0x8000 << 48).variant)
    assert made_at(id_) <= at < made_at(id_) + MILLISECOND
    assert memory_id(at, *seed) == id_


@given(moments, moments)
def test_ids_sort_by_the_time(one: datetime, other: datetime) -> None:
    if to_milliseconds(one) < to_milliseconds(other):
        assert memory_id(one, "z") < memory_id(other, "a")


def test_another_seed_is_another_id() -> None:
    made = [memory_id(EPOCH, *seed) for seed in ((), ("",), ("a",), ("a", "b"), ("ab",), ("a", ""), ("\ud800",))]
    assert len(set(made)) == len(made)


def test_the_zone_of_a_time_makes_no_difference() -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert memory_id(at.astimezone(timezone(timedelta(hours=5))), "a") == memory_id(at, "a")


def test_ids_of_rows_are_ids_of_memories_as_well() -> None:
    assert abs(made_at(new_id()) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("at", [EPOCH.replace(tzinfo=None), EPOCH - MILLISECOND])
def test_a_time_that_no_id_can_tell_is_refused(at: datetime) -> None:
    with pytest.raises(ValueError):
        memory_id(at)


@pytest.mark.parametrize(
    "id_", [uuid4(), UUID(int=0), UUID(int=2**128 - 1), UUID(int=(2**48 - 1) << 80 | 7 << 76 | 2 << 62)]
)
def test_what_is_no_id_of_a_memory_is_refused(id_: UUID) -> None:
    with pytest.raises(ValueError):
        milliseconds_of(id_)


@given(moments, st.integers(0, 10**15))
def test_a_limit_between_two_milliseconds_is_the_later_one(limit: datetime, made: int) -> None:
    """So that comparing whole milliseconds answers as comparing the times themselves would."""
    at = EPOCH + (made % 253_402_300_800_000) * MILLISECOND
    assert (to_milliseconds(at) >= first_millisecond(limit)) is (at >= limit)
