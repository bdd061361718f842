"""Both engines of agents' memory give the answers that plain Python works out, whatever was done before."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.memory_stores import NO_SERVER, opened
from tests.support.memories import START, cosine, matches, nearest, new_collection
from workspace.memory.ids import memory_id
from workspace.memory.memories import EVERYTHING, Filter, InteractionType, Memory, Point, VectorSpace
from workspace.memory.store import ContextStore
from workspace.memory.vectors import vector_of
from workspace.names import Collection

pytestmark = [pytest.mark.filterwarnings(each) for each in NO_SERVER]

SPACE = VectorSpace("a-model", 3)
RUNS = [UUID(int=7 << 76 | 2 << 62 | n) for n in range(2)]
MOMENTS = [START + timedelta(milliseconds=n) for n in (0, 1, 2, 1_000)]
"""Few, so that several memories are of the same one."""
NEAR = 1e-4
"""What a score may differ by: the engines' floats have 32 bits, and some sum in another order."""

numbers = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0, 3.0])
vectors = st.lists(numbers, min_size=3, max_size=3).map(vector_of)
moments = st.sampled_from(MOMENTS)
memories = st.builds(
    Memory,
    id=st.builds(lambda at, n: memory_id(at, str(n)), moments, st.integers(0, 4)),
    text=st.text(min_size=1, max_size=5),
    interaction_type=st.sampled_from(InteractionType),
    success=st.booleans(),
    run_id=st.none() | st.sampled_from(RUNS),
)
filters = st.builds(
    Filter,
    interaction_type=st.none() | st.sampled_from(InteractionType),
    success=st.none() | st.booleans(),
    since=st.none() | moments,
    until=st.none() | moments,
    run_id=st.none() | st.sampled_from(RUNS),
)
changes = st.one_of(
    st.tuples(st.just("upsert"), st.lists(st.builds(Point, memories, vectors), max_size=12)),
    st.tuples(st.just("delete"), st.lists(memories.map(lambda each: each.id), max_size=4)),
    st.tuples(st.just("delete_where"), filters),
    st.tuples(st.just("release"), st.none()),
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ContextStore]]:
    with (
        opened("edge", tmp_path_factory.mktemp("memory")) as edge,
        opened("server", tmp_path_factory.getbasetemp()) as own,
    ):
        yield [edge, own]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(changes, min_size=1, max_size=6),
    wheres=st.lists(filters, min_size=1, max_size=3),
    query=vectors,
    limit=st.integers(1, 9),
    min_score=st.none() | st.sampled_from([-0.55, 0.05, 0.75]),
)
def test_every_answer_is_that_of_plain_python(stores, steps, wheres, query, limit, min_score) -> None:
    collection = new_collection()
    known: dict[UUID, Point] = {}
    for store in stores:
        store.ensure(collection, SPACE)
    for name, value in steps:
        change(stores, collection, known, name, value)
    for store in stores:
        for where in (EVERYTHING, *wheres):
            check(store, collection, list(known.values()), where)
            check_search(store, collection, list(known.values()), where, query, limit, min_score)
        assert [each.memory for each in store.points(collection, limit=99)] == in_order(known.values(), EVERYTHING)
        assert store.oldest(collection, limit) == sorted(known)[:limit]
        store.drop(collection)


def change(stores, collection: Collection, known: dict[UUID, Point], name: str, value) -> None:
    """Make one change in every store, and in what is known."""
    match name:
        case "upsert":
            known |= {each.memory.id: each for each in value}
            gone = []
        case "delete":
            gone = value
        case "delete_where":
            gone = [id_ for id_, each in known.items() if matches(value, each.memory)]
        case _:
            gone = []
    for id_ in gone:
        known.pop(id_, None)
    for store in stores:
        match name:
            case "upsert":
                store.upsert(collection, SPACE, value)
            case "delete":
                store.delete(collection, value)
            case "delete_where":
                assert store.delete_where(collection, value) == len(gone)
            case _:
                store.release(collection.key)


def in_order(points, where: Filter) -> list[Memory]:
    return sorted((each.memory for each in points if matches(where, each.memory)), key=lambda made: made.id)


def check(store: ContextStore, collection: Collection, points: list[Point], where: Filter) -> None:
    expected = in_order(points, where)
    assert store.count(collection, where) == len(expected)
    for newest_first in (True, False):
        seen: list[Memory] = []
        after = None
        while True:
            page = store.page(collection, where=where, limit=4, after=after, newest_first=newest_first)
            seen += page.items
            after = page.next_cursor
            if after is None:
                break
        assert seen == (expected[::-1] if newest_first else expected)


def check_search(store, collection, points, where, query, limit, min_score) -> None:
    by_id = {each.memory.id: each for each in points}
    found = store.search(collection, SPACE, query, where=where, limit=limit, min_score=min_score)
    ranked = nearest(points, query, where)
    expected = [score for score, _ in ranked[:limit] if min_score is None or score >= min_score]
    assert [hit.score for hit in found] == pytest.approx(expected, abs=NEAR)
    assert len({hit.memory.id for hit in found}) == len(found)
    for hit in found:
        assert hit.memory == by_id[hit.memory.id].memory
        assert matches(where, hit.memory)
        assert hit.score == pytest.approx(cosine(by_id[hit.memory.id].vector, query), abs=NEAR)
