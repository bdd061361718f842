"""Both engines of agents' memory do what the port says."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from models import new_id
from tests.contract.memory_stores import ADAPTERS, NO_SERVER, opened
from tests.support.memories import SPACE, START, cosine, memory, new_collection, point, random_vector, vector
from workspace.errors import DimensionsChanged, MemoryOvertaken, MemoryUnavailable
from workspace.memory.memories import EVERYTHING, Filter, InteractionType, Point, Provenance, VectorSpace
from workspace.memory.ownership import NOBODY
from workspace.memory.store import ContextStore
from workspace.memory.vectors import vector_of
from workspace.names import Collection, WorkspaceKey

pytestmark = [pytest.mark.filterwarnings(each) for each in NO_SERVER]

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module", params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContextStore]:
    with opened(request.param, tmp_path_factory.mktemp("memory")) as store:
        yield store


@pytest.fixture
def mine() -> Collection:
    return new_collection()


def ids_of(points: list[Point]) -> list[UUID]:
    return [each.memory.id for each in points]


def all_pages(store: ContextStore, collection: Collection, limit: int, **options: Any) -> list[list[UUID]]:
    pages = []
    after = None
    while True:
        page = store.page(collection, **{"where": EVERYTHING, **options}, limit=limit, after=after)
        pages.append([each.id for each in page.items])
        after = page.next_cursor
        if after is None:
            return pages


# -- keeping and finding ----------------------------------------------------------------------------------------------


def test_a_store_that_is_there_answers_a_check(store: ContextStore) -> None:
    store.check()


def test_a_collection_that_does_not_exist_reads_as_an_empty_one(store: ContextStore, mine: Collection) -> None:
    assert store.space(mine) is None
    assert store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=5) == []
    assert store.page(mine, where=EVERYTHING, limit=5) == ([], None)
    assert store.page(mine, where=EVERYTHING, limit=5, newest_first=False) == ([], None)
    assert store.points(mine, limit=5) == []
    assert store.oldest(mine, 5) == []
    assert store.count(mine, EVERYTHING) == 0
    assert store.delete_where(mine, EVERYTHING) == 0
    store.delete(mine, [uuid4()])
    store.drop(mine)
    stats = store.stats(mine)
    assert (stats.vectors, stats.bytes, stats.success_rate, stats.space) == (0, 0, None, None)
    assert stats.by_type == dict.fromkeys(InteractionType, 0)
    assert store.collections(mine.key) == [], "reading made one"


def test_a_memory_comes_back_whole(store: ContextStore, mine: Collection) -> None:
    full = memory(
        interaction_type=InteractionType.TASK,
        success=False,
        session_id=uuid4(),
        run_id=uuid4(),
        task_id=uuid4(),
        provenance=Provenance.IMPORT,
    )
    bare = memory(1)
    store.upsert(mine, SPACE, [Point(full, vector(1)), Point(bare, vector(0, 1))])
    assert [hit.memory for hit in store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1)] == [full]
    assert store.page(mine, where=EVERYTHING, limit=5).items == [bare, full]
    assert [each.memory for each in store.points(mine, limit=5)] == [full, bare]


def test_the_nearest_comes_first_and_the_limit_counts(store: ContextStore, mine: Collection) -> None:
    points = [point(n, values=vector(1, n / 10)) for n in range(10)]
    store.upsert(mine, SPACE, points[::-1])
    found = store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=4)
    assert [hit.memory.id for hit in found] == ids_of(points[:4])
    assert [hit.score for hit in found] == pytest.approx([cosine(each.vector, vector(1)) for each in points[:4]])


def test_what_is_less_alike_than_asked_for_is_left_out(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, [point(0, values=vector(1)), point(1, values=vector(1, 1)), point(2, values=vector(-1))])
    for min_score, expected in ((0.8, 1), (0.7, 2), (0.0, 2), (-1.0, 3), (None, 3)):
        found = store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=5, min_score=min_score)
        assert len(found) == expected, min_score


def test_a_point_replaces_the_one_with_its_id(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, [point(0, values=vector(1), run_id=uuid4()), point(1)])
    changed = Point(memory(0, text="another", success=False), vector(0, 0, 1))
    for _ in range(2):  # twice is once
        store.upsert(mine, SPACE, [changed])
    assert store.count(mine, EVERYTHING) == 2
    assert store.page(mine, where=EVERYTHING, limit=5, newest_first=False).items[0] == changed.memory
    (hit,) = store.search(mine, SPACE, vector(0, 0, 1), where=Filter(success=False), limit=1)
    assert (hit.memory, hit.score) == (changed.memory, pytest.approx(1))


def test_a_point_twice_in_a_call_is_kept_once_and_the_last_counts(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, [point(0, text="first"), point(0, text="last")])
    assert [each.text for each in store.page(mine, where=EVERYTHING, limit=5).items] == ["last"]


def test_nothing_to_keep_makes_the_collection_only(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, [])
    assert store.collections(mine.key) == [mine]
    assert store.count(mine, EVERYTHING) == 0


def test_more_points_than_fit_into_a_message_are_kept(store: ContextStore, mine: Collection) -> None:
    points = [point(n) for n in range(700)]
    store.upsert(mine, SPACE, points)
    assert store.count(mine, EVERYTHING) == 700
    assert ids_of(store.points(mine, limit=1_000)) == ids_of(points)


# -- filters ----------------------------------------------------------------------------------------------------------

SESSION, RUN, OTHER_RUN = uuid4(), uuid4(), uuid4()
MIXED = [
    point(0, interaction_type=InteractionType.NOTE, success=True),
    point(1, interaction_type=InteractionType.NOTE, success=False, run_id=RUN, session_id=SESSION),
    point(2, interaction_type=InteractionType.TOOL, success=True, run_id=RUN, session_id=SESSION),
    point(3, interaction_type=InteractionType.CONVERSATION, success=True, run_id=OTHER_RUN, session_id=SESSION),
    point(4, interaction_type=InteractionType.CONVERSATION, success=False),
]


@pytest.fixture(scope="module")
def mixed(store: ContextStore) -> Collection:
    collection = new_collection()
    store.upsert(collection, SPACE, MIXED)
    return collection


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(), [0, 1, 2, 3, 4]),
        (Filter(interaction_type=InteractionType.NOTE), [0, 1]),
        (Filter(interaction_type=InteractionType.TASK), []),
        (Filter(success=True), [0, 2, 3]),
        (Filter(success=False), [1, 4]),
        (Filter(session_id=SESSION), [1, 2, 3]),
        (Filter(run_id=RUN), [1, 2]),
        (Filter(run_id=SESSION), []),
        (Filter(run_id=RUN, success=True), [2]),
        (Filter(interaction_type=InteractionType.NOTE, success=True, run_id=RUN), []),
        (Filter(since=START + 3 * MINUTE), [3, 4]),
        (Filter(until=START + 3 * MINUTE), [0, 1, 2]),
        (Filter(since=START + MINUTE, until=START + 3 * MINUTE, success=True), [2]),
        (Filter(since=START + 3 * MINUTE, until=START + MINUTE), []),
        (Filter(since=datetime(1970, 1, 1, tzinfo=UTC), until=datetime.max.replace(tzinfo=UTC)), [0, 1, 2, 3, 4]),
        (Filter(since=datetime(1900, 1, 1, tzinfo=UTC)), [0, 1, 2, 3, 4]),
    ],
    ids=repr,
)
def test_a_filter_counts_everywhere(store: ContextStore, mixed: Collection, where: Filter, expected: list[int]) -> None:
    wanted = [MIXED[n].memory for n in expected]
    found = store.search(mixed, SPACE, random_vector("query"), where=where, limit=10)
    assert sorted(hit.memory.id for hit in found) == [each.id for each in wanted]
    assert store.count(mixed, where) == len(wanted)
    assert store.page(mixed, where=where, limit=10).items == wanted[::-1]
    assert store.page(mixed, where=where, limit=10, newest_first=False).items == wanted


def test_since_includes_its_moment_and_until_does_not(store: ContextStore, mine: Collection) -> None:
    """A memory's own time is exact to the millisecond; the limits may lie between two of them."""
    at = START.replace(microsecond=5_000)
    store.upsert(mine, SPACE, [point(0, at=at)])
    microsecond = timedelta(microseconds=1)
    assert store.count(mine, Filter(since=at)) == 1
    assert store.count(mine, Filter(since=at + microsecond)) == 0
    assert store.count(mine, Filter(until=at)) == 0
    assert store.count(mine, Filter(until=at + microsecond)) == 1
    assert store.count(mine, Filter(since=at - microsecond, until=at + microsecond)) == 1


def test_a_time_of_any_zone_is_the_same_moment(store: ContextStore, mine: Collection) -> None:
    from zoneinfo import ZoneInfo

    store.upsert(mine, SPACE, [point(0)])
    there = START.astimezone(ZoneInfo("Asia/Kolkata"))
    assert store.count(mine, Filter(since=there, until=there + MINUTE)) == 1


# -- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 7, 21, 50])
def test_pages_show_each_memory_once_and_in_order(
    store: ContextStore, mine: Collection, limit: int, newest_first: bool
) -> None:
    points = [point(n) for n in range(21)]
    store.upsert(mine, SPACE, points[7:])
    store.upsert(mine, SPACE, points[:7])
    pages = all_pages(store, mine, limit, newest_first=newest_first)
    expected = ids_of(points)[::-1] if newest_first else ids_of(points)
    assert [id_ for page in pages for id_ in page] == expected
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= limit


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 5, 8])
def test_pages_are_whole_among_memories_of_one_millisecond(
    store: ContextStore, mine: Collection, limit: int, newest_first: bool
) -> None:
    moments = [START, START, START, START + MINUTE, START + 2 * MINUTE, *[START + 3 * MINUTE] * 6]
    points = [point(n, at=at, success=n % 4 != 0) for n, at in enumerate(moments)]
    store.upsert(mine, SPACE, points)
    for where in (EVERYTHING, Filter(success=True)):
        pages = all_pages(store, mine, limit, where=where, newest_first=newest_first)
        expected = sorted(each.memory.id for each in points if where.success is None or each.memory.success)
        assert [id_ for page in pages for id_ in page] == (expected[::-1] if newest_first else expected)


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_page_goes_on_after_one_that_is_gone(store: ContextStore, mine: Collection, newest_first: bool) -> None:
    points = [point(n) for n in range(6)]
    store.upsert(mine, SPACE, points)
    first = store.page(mine, where=EVERYTHING, limit=3, newest_first=newest_first)
    assert first.next_cursor is not None
    store.delete(mine, [first.next_cursor])
    rest = store.page(mine, where=EVERYTHING, limit=9, after=first.next_cursor, newest_first=newest_first)
    assert [each.id for each in rest.items] == (ids_of(points)[2::-1] if newest_first else ids_of(points)[3:])


def test_an_export_reads_each_point_once_with_its_direction(store: ContextStore, mine: Collection) -> None:
    points = [point(n) for n in range(10)]
    store.upsert(mine, SPACE, points)
    first = store.points(mine, limit=6)
    rest = store.points(mine, limit=6, after=first[-1].memory.id)
    assert [each.memory for each in first + rest] == [each.memory for each in points]
    for kept, given in zip(first + rest, points, strict=True):
        assert cosine(kept.vector, given.vector) == pytest.approx(1, abs=1e-6)
    assert store.points(mine, limit=6, after=rest[-1].memory.id) == []


def test_the_oldest_are_those_that_were_made_first(store: ContextStore, mine: Collection) -> None:
    points = [point(n) for n in range(6)]
    store.upsert(mine, SPACE, points[::-1])
    assert store.oldest(mine, 4) == ids_of(points[:4])
    assert store.oldest(mine, 100) == ids_of(points)


# -- forgetting -------------------------------------------------------------------------------------------------------


def test_what_is_deleted_is_gone_and_the_rest_is_not(store: ContextStore, mine: Collection) -> None:
    points = [point(n) for n in range(6)]
    store.upsert(mine, SPACE, points)
    for _ in range(2):
        store.delete(mine, [points[1].memory.id, points[4].memory.id, uuid4()])
    left = ids_of([points[0], points[2], points[3], points[5]])
    assert [each.id for each in store.page(mine, where=EVERYTHING, limit=9, newest_first=False).items] == left
    found = store.search(mine, SPACE, random_vector(1), where=EVERYTHING, limit=9)
    assert sorted(hit.memory.id for hit in found) == left
    store.delete(mine, [])
    assert store.count(mine, EVERYTHING) == 4


def test_what_a_run_left_can_be_forgotten(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, MIXED)
    assert store.delete_where(mine, Filter(run_id=RUN)) == 2
    assert store.delete_where(mine, Filter(run_id=RUN)) == 0
    assert ids_of(store.points(mine, limit=9)) == ids_of([MIXED[0], MIXED[3], MIXED[4]])


def test_what_was_made_before_a_time_can_be_forgotten(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, MIXED)
    assert store.delete_where(mine, Filter(until=START + 2 * MINUTE)) == 2
    assert ids_of(store.points(mine, limit=9)) == ids_of(MIXED[2:])


def test_everything_can_be_forgotten(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, MIXED)
    assert store.delete_where(mine, EVERYTHING) == 5
    assert store.count(mine, EVERYTHING) == 0
    store.upsert(mine, SPACE, [MIXED[0]])
    assert store.count(mine, EVERYTHING) == 1


def test_a_dropped_collection_is_gone_and_can_be_made_again(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, MIXED)
    store.drop(mine)
    assert store.collections(mine.key) == []
    assert store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=5) == []
    assert store.space(mine) is None
    wider = VectorSpace("another-model", 16)
    store.upsert(mine, wider, [point(1, values=vector(1, dimensions=16))])
    assert store.space(mine) == wider
    assert store.count(mine, EVERYTHING) == 1


# -- what made the vectors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [VectorSpace("a-model", 9), VectorSpace("another-model", 8)], ids=str)
def test_another_embedding_is_refused_with_a_clear_message(
    store: ContextStore, mine: Collection, other: VectorSpace
) -> None:
    store.ensure(mine, SPACE)
    store.ensure(mine, SPACE)
    kept = point(0)
    store.upsert(mine, SPACE, [kept])
    strange = vector(1, dimensions=other.dimensions)
    for act in (
        lambda: store.ensure(mine, other),
        lambda: store.upsert(mine, other, [Point(memory(1), strange)]),
        lambda: store.search(mine, other, strange, where=EVERYTHING, limit=1),
    ):
        with pytest.raises(DimensionsChanged) as caught:
            act()
        assert isinstance(caught.value, MemoryUnavailable)
        assert (caught.value.expected, caught.value.got) == (SPACE, other)
        assert str(SPACE) in caught.value.detail
        assert str(other) in caught.value.detail
        assert "EMBEDDING_DIMENSIONS" in caught.value.detail
    assert [each.memory for each in store.points(mine, limit=5)] == [kept.memory]
    assert store.count(mine, EVERYTHING) == 1


@pytest.mark.parametrize(
    "bad",
    [vector(1, dimensions=7), vector(1, dimensions=9), vector(float("nan")), vector(float("inf")), vector(3e38, 3e38)],
    ids=["short", "long", "nan", "infinity", "huge"],
)
def test_what_is_no_vector_is_refused_and_nothing_of_its_call_is_kept(
    store: ContextStore, mine: Collection, bad: Any
) -> None:
    store.upsert(mine, SPACE, [point(0)])
    with pytest.raises(ValueError, match="no vector of a-model"):
        store.upsert(mine, SPACE, [point(1), Point(memory(2), bad)])
    with pytest.raises(ValueError, match="no vector of a-model"):
        store.search(mine, SPACE, bad, where=EVERYTHING, limit=1)
    assert store.count(mine, EVERYTHING) == 1
    assert len(store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=5)) == 1


def test_a_vector_without_a_direction_harms_nothing(store: ContextStore, mine: Collection) -> None:
    """A text without a word has one, where words are what counts."""
    store.upsert(mine, SPACE, [point(0, values=vector()), point(1, values=vector(1))])
    found = store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=5)
    assert [(hit.memory, hit.score) for hit in found] == [
        (memory(1), pytest.approx(1)),
        (memory(0), pytest.approx(0)),
    ]
    assert {hit.memory.id for hit in store.search(mine, SPACE, vector(), where=EVERYTHING, limit=5)} == {
        memory(0).id,
        memory(1).id,
    }


# -- whatever the text is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Привет, мир",
        "日本語のテキスト 👩‍👩‍👧‍👦 e\u0301 \u202eright to left\u202c",
        "a\x00b\x01\x1f\x7f",
        "'; DROP TABLE memories; -- \" ` $(rm -rf /) {{7*7}} ../../etc/passwd",
        '{"must": [{"key": "run_id"}]}',
        "\r\n\t  \v\f\u2028\u2029\ufeff\ufffe",
        " ",
        "x" * 200_000,
        "😀" * 20_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_a_text_comes_back_as_it_was(store: ContextStore, mine: Collection, text: str) -> None:
    made = memory(0, text=text)
    store.upsert(mine, SPACE, [Point(made, vector(1))])
    assert store.page(mine, where=EVERYTHING, limit=1).items == [made]
    assert store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1)[0].memory == made


# -- whose it is ------------------------------------------------------------------------------------------------------


def test_collections_whose_names_begin_alike_are_apart(store: ContextStore) -> None:
    key, other_project = WorkspaceKey(uuid4(), uuid4()), uuid4()
    neighbours = [
        *(Collection(key, name, new_id()) for name in ("a", "a_context", "a_", "aa", "a-context_context", "context")),
        Collection(WorkspaceKey(key.user_id, other_project), "a", new_id()),
        Collection(WorkspaceKey(uuid4(), key.project_id), "a", new_id()),
        Collection(WorkspaceKey(key.project_id, key.user_id), "a", new_id()),
    ]
    assert len({each.name for each in neighbours}) == len(neighbours)
    for number, collection in enumerate(neighbours):
        store.upsert(collection, SPACE, [point(n, text=f"of {number}") for n in range(number + 1)])
    for number, collection in enumerate(neighbours):
        assert store.count(collection, EVERYTHING) == number + 1
        found = store.search(collection, SPACE, random_vector(0), where=EVERYTHING, limit=99)
        assert {hit.memory.text for hit in found} == {f"of {number}"}
        assert len(found) == number + 1
    assert store.collections(key) == sorted(neighbours[:6])
    store.delete(neighbours[1], [memory(0).id])
    store.delete_where(neighbours[3], EVERYTHING)
    store.drop(neighbours[0])
    assert [store.count(each, EVERYTHING) for each in neighbours] == [0, 1, 3, 0, 5, 6, 7, 8, 9]
    assert store.collections(key) == sorted(neighbours[1:6])


def heirs(mine: Collection) -> tuple[Collection, Collection]:
    """The collections of an agent that was made before one, and of one that was made after it, of the same name."""
    return mine._replace(agent_id=UUID(int=mine.agent_id.int - (1 << 80))), mine._replace(agent_id=new_id())


def every_read(store: ContextStore, collection: Collection) -> list[Any]:
    """What each way of reading finds."""
    stats = store.stats(collection)
    return [
        store.search(collection, SPACE, vector(1), where=EVERYTHING, limit=5),
        store.page(collection, where=EVERYTHING, limit=5).items,
        store.page(collection, where=EVERYTHING, limit=5, newest_first=False).items,
        store.points(collection, limit=5),
        store.oldest(collection, 5),
        store.count(collection, EVERYTHING),
        store.space(collection),
        (stats.vectors, stats.space),
    ]


NOTHING_READ = [[], [], [], [], [], 0, None, (0, None)]


@pytest.mark.parametrize("way", range(len(NOTHING_READ) + 5))
def test_what_a_deleted_agent_left_is_removed_when_a_later_one_of_its_name_asks(
    store: ContextStore, mine: Collection, way: int
) -> None:
    _, later = heirs(mine)
    store.upsert(mine, SPACE, MIXED)
    wider = VectorSpace("another-model", 16)
    reads = [
        lambda: store.search(later, wider, vector(1, dimensions=16), where=EVERYTHING, limit=5),
        lambda: store.page(later, where=EVERYTHING, limit=5).items,
        lambda: store.page(later, where=EVERYTHING, limit=5, newest_first=False).items,
        lambda: store.points(later, limit=5),
        lambda: store.oldest(later, 5),
        lambda: store.count(later, EVERYTHING),
        lambda: store.space(later),
        lambda: store.stats(later).vectors,
        lambda: store.delete_where(later, EVERYTHING),
        lambda: store.delete(later, ids_of(MIXED)),
        lambda: store.drop(later),
    ]
    writes = [
        lambda: store.ensure(later, wider),
        lambda: store.upsert(later, wider, [point(99, values=vector(1, dimensions=16))]),
    ]
    if way < len(reads):
        assert not reads[way]()
        assert store.collections(mine.key) == []
    else:
        writes[way - len(reads)]()
        assert store.collections(mine.key) == [later]
        assert store.space(later) == wider
        assert store.count(later, EVERYTHING) == way - len(reads)


def test_an_agent_that_was_deleted_has_no_say_where_a_later_one_has_its_name(
    store: ContextStore, mine: Collection
) -> None:
    earlier, _ = heirs(mine)
    store.upsert(mine, SPACE, MIXED)
    for act in (
        lambda: store.ensure(earlier, SPACE),
        lambda: store.upsert(earlier, SPACE, [point(99)]),
        lambda: store.search(earlier, SPACE, vector(1), where=EVERYTHING, limit=5),
        lambda: store.page(earlier, where=EVERYTHING, limit=5),
        lambda: store.points(earlier, limit=5),
        lambda: store.oldest(earlier, 5),
        lambda: store.count(earlier, EVERYTHING),
        lambda: store.delete(earlier, ids_of(MIXED)),
        lambda: store.delete_where(earlier, EVERYTHING),
        lambda: store.space(earlier),
        lambda: store.stats(earlier),
    ):
        with pytest.raises(MemoryOvertaken, match=r"The agent was deleted\."):
            act()
    store.drop(earlier)
    assert ids_of(store.points(mine, limit=9)) == ids_of(MIXED)
    assert store.collections(mine.key) == [mine]
    store.release(mine.key)
    store.drop(earlier)
    with pytest.raises(MemoryOvertaken):
        store.count(earlier, EVERYTHING)
    assert ids_of(store.points(mine, limit=9)) == ids_of(MIXED)


def test_agents_of_one_name_one_after_the_other_find_nothing_of_each_other(
    store: ContextStore, mine: Collection
) -> None:
    earlier, later = heirs(mine)
    for number, each in enumerate((earlier, mine, later)):
        assert every_read(store, each) == NOTHING_READ
        store.upsert(each, SPACE, [point(number)])
        assert store.oldest(each, 5) == [memory(number).id]
    assert store.collections(mine.key) == [later]


def test_a_collection_of_nobody_is_of_whoever_asks(store: ContextStore, mine: Collection) -> None:
    nobodys = mine._replace(agent_id=NOBODY)
    store.upsert(nobodys, SPACE, MIXED)
    for each in (mine, *heirs(mine)):
        assert store.count(each, EVERYTHING) == len(MIXED)
    assert store.collections(mine.key) == [nobodys]
    store.drop(mine)
    assert store.collections(mine.key) == []
    store.upsert(mine, SPACE, MIXED)
    store.drop(nobodys)
    assert store.collections(mine.key) == [mine], "it has an owner by now"


def test_all_workspaces_with_collections_are_known(store: ContextStore, mine: Collection) -> None:
    others = [new_collection("reviewer", mine.key), new_collection(), new_collection()]
    keys = {each.key for each in (mine, *others)}
    assert not keys & set(store.workspaces())
    for each in (mine, *others):
        store.ensure(each, SPACE)
    found = store.workspaces()
    assert len(found) == len(set(found))
    assert keys <= set(found)
    assert store.collections(*keys) == sorted([mine, *others])
    assert store.collections() == []
    for each in others:
        store.drop(each)
    assert keys & set(store.workspaces()) == {mine.key}


@pytest.mark.parametrize("name", ["", ".", "..", "../coder", "a/b", "a\0", "A", "a b", "é", "a\n", "x" * 64, "1a"])
def test_what_is_no_agents_name_names_no_collection(store: ContextStore, name: str) -> None:
    collection = new_collection(name)
    with pytest.raises(ValueError):
        store.upsert(collection, SPACE, [point(0)])
    with pytest.raises(ValueError):
        store.drop(collection)
    assert store.collections(collection.key) == []


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_the_stats_tell_what_there_is(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, MIXED)
    stats = store.stats(mine)
    assert (stats.vectors, stats.success_rate, stats.space) == (5, pytest.approx(3 / 5), SPACE)
    assert stats.by_type == {
        InteractionType.CONVERSATION: 2,
        InteractionType.TASK: 0,
        InteractionType.TOOL: 1,
        InteractionType.NOTE: 2,
    }
    assert stats.bytes >= 5 * 8 * 4


def test_what_is_let_go_of_is_still_there(store: ContextStore, mine: Collection) -> None:
    store.upsert(mine, SPACE, MIXED)
    for _ in range(2):
        store.release(mine.key)
        assert ids_of(store.points(mine, limit=9)) == ids_of(MIXED)


def test_a_vector_of_python_numbers_is_32_bits_wide() -> None:
    assert vector_of([0.1])[0] != 0.1
