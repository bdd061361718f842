"""Pages from the newest on, of an engine that gives ids in any order within a millisecond."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from workspace.memory.first_pages import newest_page
from workspace.memory.ids import memory_id, milliseconds_of

START = datetime(2026, 1, 1, tzinfo=UTC)


class Engine:
    """Knows ids by their times, and mixes those of one time up."""

    def __init__(self, ids: Sequence[UUID]) -> None:
        self.ids = ids
        self.chance = random.Random(1)

    def latest(self, before: int | None, number: int) -> list[tuple[int, UUID]]:
        timed = [(milliseconds_of(id_), id_) for id_ in self.ids]
        chosen = [each for each in timed if before is None or each[0] < before]
        self.chance.shuffle(chosen)
        return sorted(chosen, key=lambda each: -each[0])[:number]

    def same_time(self, moment: int) -> list[UUID]:
        chosen = [id_ for id_ in self.ids if milliseconds_of(id_) == moment]
        self.chance.shuffle(chosen)
        return chosen


ids = st.lists(
    st.builds(
        lambda at, n: memory_id(START + timedelta(milliseconds=at), str(n)), st.integers(0, 4), st.integers(0, 9)
    ),
    unique=True,
    max_size=30,
)


@given(ids, st.integers(1, 12))
def test_the_pages_together_are_everything_in_descending_order(known: list[UUID], limit: int) -> None:
    engine = Engine(known)
    seen: list[UUID] = []
    after = None
    while page := newest_page(limit, after, latest=engine.latest, same_time=engine.same_time):
        assert len(page) <= limit
        seen += page
        after = page[-1]
    assert seen == sorted(known, reverse=True)


@given(ids, ids, st.integers(1, 12))
def test_a_page_begins_after_an_id_that_need_not_exist(known: list[UUID], others: list[UUID], limit: int) -> None:
    engine = Engine(known)
    for after in others:
        expected = sorted((id_ for id_ in known if id_ < after), reverse=True)[:limit]
        assert newest_page(limit, after, latest=engine.latest, same_time=engine.same_time) == expected
