"""An agent's memory as the rest of the system uses it: over both engines, with the stand-in's embeddings and Redis.

A third way is that of a process which has no engine, and asks one that has.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis

from models import new_id
from settings import Settings, load_settings
from tests.contract.asked_memories import AskedMemories
from tests.contract.memory_stores import ADAPTERS, NO_SERVER, opened
from tests.support.memories import START, memory
from tests.support.scripted_server import Answer, scripted_server
from workspace.errors import DimensionsChanged, EmbeddingsUnavailable, InvalidInput, MemoryUnavailable
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.door import MemoryDoor, Pruned, Restored
from workspace.memory.ids import memory_id
from workspace.memory.memories import Filter, InteractionType, Memory, Provenance
from workspace.memory.store import ContextStore
from workspace.memory.texts import MOST_CHARACTERS
from workspace.names import Collection, WorkspaceKey

pytestmark = [pytest.mark.stack, *(pytest.mark.filterwarnings(each) for each in NO_SERVER)]

ASKED = "asked"
MINUTE = timedelta(minutes=1)
AGENT = new_id()


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings()


@pytest.fixture(scope="module")
def cache(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.cache) as client:
        yield client


@pytest.fixture(scope="module", params=[*ADAPTERS, ASKED])
def way(request: pytest.FixtureRequest) -> str:
    """How a memory is reached."""
    return str(request.param)


@pytest.fixture(scope="module")
def store(way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContextStore]:
    with opened("edge" if way == ASKED else way, tmp_path_factory.mktemp("memory")) as store:
        yield store


class Maker:
    """Makes memories with settings of their own."""

    def __init__(self, settings: Settings, cache: redis.Redis, store: ContextStore, *, asked: bool) -> None:
        self._settings, self._cache, self._store, self._is_asked = settings, cache, store, asked
        self.made: list[AgentMemories] = []
        self.asked: list[AskedMemories] = []

    def all(self, **options: Any) -> AgentMemories | AskedMemories:
        patient = {"memory_search_timeout": 20.0, **options}
        self.made.append(AgentMemories(self._settings.model_copy(update=patient), self._cache, store=self._store))
        if not self._is_asked:
            return self.made[-1]
        self.asked.append(AskedMemories(self.made[-1]))
        return self.asked[-1]

    def one(self, key: WorkspaceKey, **options: Any) -> MemoryDoor:
        return self.all(**options).of(key, "coder", AGENT)


@pytest.fixture
def make(settings: Settings, cache: redis.Redis, store: ContextStore, way: str) -> Iterator[Maker]:
    maker = Maker(settings, cache, store, asked=way == ASKED)
    yield maker
    for asked in maker.asked:
        asked.close()
    for each in maker.made:
        each._embeddings.close()  # and not the store, which they share


@pytest.fixture
def key() -> WorkspaceKey:
    return WorkspaceKey(uuid4(), uuid4())


@pytest.fixture
def mine(make: Maker, key: WorkspaceKey) -> MemoryDoor:
    return make.one(key)


def note(text: str, number: int = 0, **fields: Any) -> Memory:
    return memory(number, text=text, **{"interaction_type": InteractionType.NOTE, **fields})


def texts(found: Any) -> list[str]:
    return [each.memory.text for each in found]


DEPLOY = "We deploy to production with make deploy, from the main branch."
TABS = "The owner prefers tabs over spaces."
CAKE = "A recipe for a cherry cake with cream."


# -- remembering and finding ------------------------------------------------------------------------------------------


def test_what_was_remembered_is_found_by_what_it_is_about(mine: MemoryDoor) -> None:
    mine.remember([note(DEPLOY, 0), note(TABS, 1), note(CAKE, 2)])
    assert texts(mine.search("how do we deploy to production?")) == [DEPLOY]
    assert texts(mine.search("does the owner like tabs or spaces")) == [TABS]
    assert mine.search("quantum chromodynamics") == []


def test_nothing_is_found_in_a_memory_that_was_never_used(
    mine: MemoryDoor, key: WorkspaceKey, store: ContextStore
) -> None:
    assert mine.search("anything") == []
    assert mine.count() == 0
    assert mine.clear() == 0
    assert list(mine.export()) == []
    assert store.collections(key) == []


def test_the_settings_bound_a_search_unless_it_says_otherwise(make: Maker, key: WorkspaceKey) -> None:
    memories = [note(f"The deployment number {n} failed.", n) for n in range(8)]
    mine = make.one(key, memory_top_k=3, memory_min_score=0.2, memory_token_budget=1_000)
    mine.remember(memories)
    query = "deployment failed"
    assert len(mine.search(query)) == 3
    assert len(mine.search(query, limit=8)) == 8
    assert mine.search(query, min_score=0.99) == []
    assert len(mine.search(query, limit=8, token_budget=20)) == 2
    assert mine.search(query, token_budget=1) == []
    assert len(mine.search(query, limit=8, where=Filter(since=START + 6 * MINUTE))) == 2
    for limit in (0, -1, 1_001):
        with pytest.raises(InvalidInput):
            mine.search(query, limit=limit)


def test_a_memory_that_is_too_long_is_passed_over_for_one_that_fits(mine: MemoryDoor) -> None:
    long = "deployment failed " * 100
    mine.remember([note(long, 0), note("The deployment failed again.", 1)])
    assert texts(mine.search("deployment failed", token_budget=50)) == ["The deployment failed again."]
    assert long in texts(mine.search("deployment failed", token_budget=5_000))


@pytest.mark.parametrize("empty", ["", " \n\t ", "\u2003"])
def test_an_empty_text_is_refused_and_asks_nobody(make: Maker, key: WorkspaceKey, empty: str) -> None:
    mine = make.one(key, openai_base_url="http://127.0.0.1:9/v1")
    with pytest.raises(InvalidInput):
        mine.remember([note("fine"), note(empty, 1)])
    with pytest.raises(InvalidInput):
        mine.search(empty)


def test_a_text_without_a_word_harms_nothing(mine: MemoryDoor) -> None:
    mine.remember([note("?!", 0), note(TABS, 1)])
    assert texts(mine.search("the owner prefers tabs")) == [TABS]
    assert mine.search("...") == []
    assert mine.count() == 2


def test_what_no_database_can_hold_is_replaced_and_a_text_has_an_end(mine: MemoryDoor) -> None:
    mine.remember([note("a\0b \ud800 c", 0), note("x" * 50_000, 1)])
    kept = [each.text for each in mine.page(limit=5, newest_first=False).items]
    assert kept == ["a\ufffdb ? c", "x" * MOST_CHARACTERS]


def test_to_remember_again_is_to_remember_once(mine: MemoryDoor) -> None:
    for text in (TABS, TABS, CAKE):
        mine.remember([note(text)])
    assert [each.text for each in mine.page(limit=5).items] == [CAKE]
    assert mine.search("the owner prefers tabs") == []


def test_a_provider_that_fails_keeps_nothing_by_half(make: Maker, key: WorkspaceKey) -> None:
    with scripted_server() as server:
        server.script = lambda _: Answer(b"{}", "400 Bad Request")
        mine = make.one(key, openai_base_url=f"{server.url}/v1")
        with pytest.raises(EmbeddingsUnavailable):
            mine.remember([note(DEPLOY), note(TABS, 1)])
        with pytest.raises(EmbeddingsUnavailable):
            mine.search("something that was never embedded")
        assert mine.count() == 0


def test_a_search_ends_in_its_time_whatever_the_provider_does(make: Maker, key: WorkspaceKey) -> None:
    with scripted_server() as server:
        server.script = lambda _: Answer(silent=True)
        mine = make.one(key, openai_base_url=f"{server.url}/v1", memory_search_timeout=0.4)
        started = datetime.now(UTC)
        with pytest.raises(MemoryUnavailable):
            mine.search("something that was never embedded")
        assert datetime.now(UTC) - started < timedelta(seconds=2)


def test_two_agents_and_two_projects_share_nothing(make: Maker, key: WorkspaceKey) -> None:
    every = make.all()
    others = [every.of(key, "reviewer", new_id()), every.of(WorkspaceKey(key.user_id, uuid4()), "coder", AGENT)]
    mine = every.of(key, "coder", AGENT)
    mine.remember([note(TABS)])
    for other in others:
        assert other.search("the owner prefers tabs") == []
        other.remember([note(CAKE)])
    assert texts(mine.search("the owner prefers tabs")) == [TABS]
    mine.drop()
    assert [each.count() for each in (mine, *others)] == [0, 1, 1]
    mine.drop()
    every.release(key)


# -- forgetting -------------------------------------------------------------------------------------------------------


def numbered(mine: MemoryDoor) -> list[int]:
    """The numbers of what is there, oldest first."""
    return [int(each.text.split()[-1]) for each in mine.page(limit=1_000, newest_first=False).items]


def test_what_a_run_left_is_forgotten_with_it(mine: MemoryDoor) -> None:
    run = uuid4()
    mine.remember([note(f"number {n}", n, run_id=run if n % 2 else None) for n in range(6)])
    assert mine.forget_where(Filter(run_id=run)) == 3
    assert mine.forget_where(Filter(run_id=run)) == 0
    mine.forget([memory(0).id])
    assert numbered(mine) == [2, 4]


@pytest.mark.parametrize(
    ("options", "pruned", "left"),
    [
        ({"older_than": START + 4 * MINUTE}, Pruned(4, 0), [4, 5, 6, 7, 8, 9]),
        ({"keep": 3}, Pruned(0, 7), [7, 8, 9]),
        ({"keep": 10}, Pruned(0, 0), list(range(10))),
        ({"keep": 0}, Pruned(0, 10), []),
        ({"older_than": START + 4 * MINUTE, "keep": 2}, Pruned(4, 4), [8, 9]),
        ({"older_than": START + 4 * MINUTE, "keep": 8}, Pruned(4, 0), [4, 5, 6, 7, 8, 9]),
        ({"older_than": START - MINUTE}, Pruned(0, 0), list(range(10))),
    ],
    ids=str,
)
def test_a_memory_can_be_pruned_by_age_and_by_number(
    mine: MemoryDoor, options: dict[str, Any], pruned: Pruned, left: list[int]
) -> None:
    mine.remember([note(f"number {n}", n) for n in range(10)])
    assert mine.prune(**options, dry_run=True) == pruned
    assert numbered(mine) == list(range(10)), "a dry run forgot something"
    assert mine.prune(**options) == pruned
    assert numbered(mine) == left
    assert mine.prune(**options) == Pruned(0, 0)


@pytest.mark.parametrize("options", [{}, {"keep": -1}, {"dry_run": True}], ids=str)
def test_to_prune_by_nothing_is_a_mistake(mine: MemoryDoor, options: dict[str, Any]) -> None:
    mine.remember([note(TABS)])
    with pytest.raises(InvalidInput):
        mine.prune(**options)
    assert mine.count() == 1


def test_beyond_its_limit_a_memory_forgets_the_oldest(make: Maker, key: WorkspaceKey) -> None:
    mine = make.one(key, memory_max_vectors=100)
    mine.remember([note(f"number {n}", n) for n in range(100)])
    assert numbered(mine) == list(range(100))
    mine.remember([note("number 100", 100)])
    assert numbered(mine) == list(range(2, 101)), "a hundredth is left free"
    mine.remember([note("number 101", 101)])
    assert numbered(mine) == list(range(2, 102))
    mine.remember([note(f"number {n}", n) for n in range(1_000, 1_150)])
    assert numbered(mine) == list(range(1_051, 1_150))


def test_a_cleared_memory_is_empty_and_can_be_used_again(mine: MemoryDoor) -> None:
    mine.remember([note(TABS), note(CAKE, 1)])
    assert mine.clear() == 2
    assert mine.search("the owner prefers tabs") == []
    mine.remember([note(TABS)])
    assert mine.stats().by_type[InteractionType.NOTE] == 1


# -- carrying it away and back ----------------------------------------------------------------------------------------


@pytest.fixture
def full() -> list[Memory]:
    return [
        note(DEPLOY, 0, success=False, session_id=uuid4(), run_id=uuid4(), task_id=uuid4()),
        note('Üñïçödé 日本 😀 \u2028 "quoted"\nin two lines', 1, provenance=Provenance.AGENT),
        note(TABS, 2, interaction_type=InteractionType.TOOL),
        *(note(f"number {n}", n) for n in range(3, 450)),
    ]


def test_an_export_can_be_read_back_by_another_agent(mine: MemoryDoor, make: Maker, full: list[Memory]) -> None:
    mine.remember(full)
    lines = list(mine.export())
    assert len(lines) == len(full)
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    elsewhere = WorkspaceKey(uuid4(), uuid4())
    other = make.all().of(elsewhere, "another", AGENT)
    # The vectors come along: nobody is asked for new ones.
    mute = make.all(openai_base_url="http://127.0.0.1:9/v1").of(elsewhere, "another", AGENT)
    for _ in range(2):  # twice is once
        assert mute.restore(lines) == Restored(stored=len(full), embedded=0)
    copied = [line | {"provenance": "import"} for line in map(json.loads, lines)]
    again = [json.loads(line) for line in other.export()]
    for one, two in zip(copied, again, strict=True):
        assert one.pop("embedding")["model"] == two.pop("embedding")["model"]
        assert one == two
    assert texts(other.search("the owner prefers tabs")) == [TABS]


def test_an_export_tells_each_memory_once_while_others_come_and_go(mine: MemoryDoor) -> None:
    mine.remember([note(f"number {n}", n) for n in range(0, 900, 2)])
    seen = []
    for number, line in enumerate(mine.export()):
        seen.append(json.loads(line)["text"])
        if number == 210:
            mine.forget([memory(n).id for n in range(820, 880, 2)])
            mine.remember([note("number 1", 1), note("number 2000", 2_000)])
    assert len(seen) == len(set(seen)) == 450 - 30 + 1
    assert "number 2000" in seen


def test_after_a_change_of_the_embedding_a_memory_can_be_carried_over(
    mine: MemoryDoor, make: Maker, key: WorkspaceKey, full: list[Memory]
) -> None:
    mine.remember(full[:150])
    for options in ({"embedding_dimensions": 64}, {"embedding_model": "another"}):
        changed = make.one(key, **options)
        with pytest.raises(DimensionsChanged):
            changed.search("tabs")
        with pytest.raises(DimensionsChanged):
            changed.remember([note("new", 9)])
        assert changed.count() == 150
    narrow = make.one(key, embedding_dimensions=64)
    lines = list(narrow.export())
    with pytest.raises(DimensionsChanged):
        narrow.restore(lines)
    narrow.clear()
    assert narrow.restore(lines) == Restored(stored=150, embedded=150)
    assert texts(narrow.search("the owner prefers tabs"))[0] == TABS
    assert narrow.stats().space == ("stand-in-embedding", 64)
    with pytest.raises(DimensionsChanged):
        mine.search("tabs")


def test_memories_from_elsewhere_need_a_text_only(mine: MemoryDoor) -> None:
    lines = [
        '{"text": "The owner prefers tabs over spaces.", "created_at": "2026-01-01T01:00:00+01:00"}',
        b"\n",
        "",
        '{"text": "A recipe for a cherry cake.", "created_at": "2025-12-31T23:59:59Z", "success": false}\r\n',
    ]
    for _ in range(2):  # the same line is the same memory
        assert mine.restore(lines) == Restored(stored=2, embedded=2)
    newer, older = mine.page(limit=5).items
    assert (newer.text, newer.created_at, newer.provenance) == (TABS, START, Provenance.IMPORT)
    assert (older.success, older.interaction_type) == (False, InteractionType.NOTE)
    assert mine.restore(['{"text": "without a time"}']) == Restored(1, 1)
    assert datetime.now(UTC) - mine.page(limit=1).items[0].created_at < MINUTE


@pytest.mark.parametrize("bad", ['{"text": ""}', "[]", "{", '{"text": "x", "id": "1"}', '{"text": "x", "more": 1}'])
def test_a_bad_line_is_named_and_what_came_before_its_hundred_is_kept(mine: MemoryDoor, bad: str) -> None:
    lines = [json.dumps({"text": f"number {n}"}) for n in range(150)]
    lines[120] = bad
    with pytest.raises(InvalidInput, match=r"^Line 121: "):
        mine.restore(lines)
    assert mine.count() == 100


def test_an_import_beyond_the_limit_keeps_the_newest(make: Maker, key: WorkspaceKey) -> None:
    mine = make.one(key, memory_max_vectors=100)
    lines = [json.dumps({"text": f"number {n}", "created_at": (START + n * MINUTE).isoformat()}) for n in range(250)]
    assert mine.restore(lines).stored == 250
    assert numbered(mine)[-1] == 249
    assert len(numbered(mine)) <= 100
    assert numbered(mine) == list(range(250 - len(numbered(mine)), 250))


def test_the_stats_tell_of_texts_and_vectors(mine: MemoryDoor) -> None:
    mine.remember([note(TABS), note(CAKE, 1, success=False, interaction_type=InteractionType.CONVERSATION)])
    stats = mine.stats()
    assert (stats.vectors, stats.success_rate, stats.space) == (2, 0.5, ("stand-in-embedding", 384))
    assert stats.bytes >= 2 * 384 * 4


def test_ids_name_what_may_be_remembered_twice(mine: MemoryDoor) -> None:
    task = uuid4()
    for _ in range(2):
        mine.remember([note(TABS, id=memory_id(START, str(task), "reply"))])
    mine.remember([note(CAKE, id=memory_id(START, str(task), "tool"))])
    assert mine.count() == 2


def test_the_collection_has_the_name_of_the_rule(mine: MemoryDoor, key: WorkspaceKey, store: ContextStore) -> None:
    mine.remember([note(TABS)])
    (collection,) = store.collections(key)
    assert collection == Collection(key, "coder", AGENT)
    assert collection.name == f"user{key.user_id}_project{key.project_id}_coder_context"
