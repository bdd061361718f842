"""A Qdrant server that fails: whatever it says, memory is unavailable and nobody waits for ever.

The client's own engine stands for a server that is well (`test_context_store.py`); here is one that is not.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import QdrantClient

from models import new_id
from tests.contract.memory_stores import NO_SERVER
from tests.support.memories import SPACE, new_collection, point, vector
from tests.support.scripted_server import Answer, ScriptedServer, scripted_server
from workspace.errors import DimensionsChanged, MemoryOvertaken, MemoryUnavailable
from workspace.memory.memories import EVERYTHING, VectorSpace
from workspace.memory.server.collections import KNOWN_FOR
from workspace.memory.server.store import QdrantServerStore
from workspace.names import Collection

KEY = "a-key-that-nobody-may-see"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def store(server: ScriptedServer) -> Iterator[QdrantServerStore]:
    store = QdrantServerStore.at(server.url, api_key=KEY, timeout=1)
    yield store
    store.close()


@pytest.fixture
def mine() -> Collection:
    return new_collection()


def every_way(store: QdrantServerStore, collection: Collection) -> list[Any]:
    return [
        store.check,
        lambda: store.ensure(collection, SPACE),
        lambda: store.upsert(collection, SPACE, [point(0)]),
        lambda: store.search(collection, SPACE, vector(1), where=EVERYTHING, limit=1),
        lambda: store.page(collection, where=EVERYTHING, limit=1),
        lambda: store.points(collection, limit=1),
        lambda: store.oldest(collection, 1),
        lambda: store.count(collection, EVERYTHING),
        lambda: store.delete(collection, [point(0).memory.id]),
        lambda: store.delete_where(collection, EVERYTHING),
        lambda: store.space(collection),
        lambda: store.stats(collection),
        lambda: store.drop(collection),
        lambda: store.collections(collection.key),
    ]


ERROR = json.dumps({"status": {"error": f"the words of the server, {KEY}"}, "time": 0.1}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(ERROR, "500 Internal Server Error"),
        Answer(ERROR, "503 Service Unavailable"),
        Answer(ERROR, "400 Bad Request"),
        Answer(ERROR, "401 Unauthorized"),
        Answer(ERROR, "403 Forbidden"),
        Answer(ERROR, "429 Too Many Requests"),
        Answer(ERROR, "429 Too Many Requests", headers=("Retry-After: 3",)),
        Answer(b"<html>no such page", "404 Not Found", content_type="text/html"),
        Answer(b"<html>", "409 Conflict", content_type="text/html"),
        Answer(b"", "302 Found", headers=("Location: /elsewhere",)),
        Answer(b"<html>welcome", content_type="text/html"),
        Answer(b""),
        Answer(b"{}"),
        Answer(b"[1, 2"),
        Answer(hang_up=True),
        Answer(b'{"re', hang_up=True),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:12]!r} {answer.hang_up}",
)
def test_whatever_a_server_answers_memory_is_unavailable(
    server: ScriptedServer, store: QdrantServerStore, mine: Collection, answer: Answer
) -> None:
    server.script = lambda _: answer
    for act in every_way(store, mine):
        with pytest.raises(MemoryUnavailable) as caught:
            act()
        assert KEY not in caught.value.detail
        assert "words of the server" not in caught.value.detail


def test_a_refused_key_is_named(server: ScriptedServer, store: QdrantServerStore) -> None:
    server.script = lambda _: Answer(ERROR, "401 Unauthorized")
    with pytest.raises(MemoryUnavailable, match="401: check QDRANT_API_KEY"):
        store.check()
    assert b"api-key: a-key-that-nobody-may-see" in server.requests[0].lower()


def test_a_silent_server_is_given_up(server: ScriptedServer, store: QdrantServerStore, mine: Collection) -> None:
    server.script = lambda _: Answer(silent=True)
    started = time.monotonic()
    with pytest.raises(MemoryUnavailable):
        store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1, timeout=0.5)
    assert time.monotonic() - started < 5


def test_no_search_waits_for_a_silent_server_as_long_as_other_work_may(
    server: ScriptedServer, mine: Collection
) -> None:
    """What the collection is has to be asked first, which no time limit of one request bounds."""
    store = QdrantServerStore.at(server.url, api_key=KEY, timeout=30)
    server.script = lambda _: Answer(silent=True)
    started = time.monotonic()
    with pytest.raises(MemoryUnavailable):
        store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1, timeout=1.0)
    assert time.monotonic() - started < 10
    store.close()


def test_no_server_at_all_is_told_at_once(mine: Collection) -> None:
    store = QdrantServerStore.at("http://127.0.0.1:9", api_key="", timeout=30)
    started = time.monotonic()
    for act in every_way(store, mine):
        with pytest.raises(MemoryUnavailable):
            act()
    assert time.monotonic() - started < 5
    store.close()


def test_a_collection_that_a_server_does_not_have_reads_as_an_empty_one(
    server: ScriptedServer, store: QdrantServerStore, mine: Collection
) -> None:
    error = {"status": {"error": "Not found: Collection `x` doesn't exist!"}, "time": 0.1}
    server.script = lambda _: Answer(json.dumps(error).encode(), "404 Not Found")
    assert store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1) == []
    assert store.count(mine, EVERYTHING) == 0
    assert store.page(mine, where=EVERYTHING, limit=1).items == []
    store.drop(mine)


# -- several processes ------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


pytestmark = [pytest.mark.filterwarnings(each) for each in NO_SERVER]


@pytest.fixture
def pair() -> tuple[QdrantServerStore, QdrantServerStore, Clock]:
    """Two stores of one server, as two processes have them, and the clock of the first."""
    client, clock = QdrantClient(":memory:"), Clock()
    return QdrantServerStore(client, clock=clock), QdrantServerStore(client), clock


def test_what_another_process_dropped_is_made_anew(pair: Any, mine: Collection) -> None:
    first, second, _ = pair
    first.upsert(mine, SPACE, [point(0)])
    second.drop(mine)
    first.upsert(mine, SPACE, [point(1)])
    assert second.oldest(mine, 5) == [point(1).memory.id]
    second.drop(mine)
    assert first.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1) == []
    assert first.count(mine, EVERYTHING) == 0


def test_what_another_process_made_with_another_embedding_is_noticed(pair: Any, mine: Collection) -> None:
    first, second, clock = pair
    first.upsert(mine, SPACE, [point(0)])
    second.drop(mine)
    other = VectorSpace("another", SPACE.dimensions)
    second.ensure(mine, other)
    clock.now += KNOWN_FOR
    with pytest.raises(DimensionsChanged):
        first.upsert(mine, SPACE, [point(0)])
    assert first.space(mine) == other


def test_no_write_of_a_deleted_agent_reaches_what_another_process_made_for_a_later_one(
    pair: Any, mine: Collection
) -> None:
    first, second, clock = pair
    later = mine._replace(agent_id=new_id())
    first.upsert(mine, SPACE, [point(0)])
    assert second.count(later, EVERYTHING) == 0
    second.upsert(later, SPACE, [point(1)])
    for act in (
        lambda: first.upsert(mine, SPACE, [point(2)]),
        lambda: first.delete(mine, [point(1).memory.id]),
        lambda: first.delete_where(mine, EVERYTHING),
    ):
        with pytest.raises(MemoryOvertaken):
            act()
    first.drop(mine)
    clock.now += KNOWN_FOR
    with pytest.raises(MemoryOvertaken):
        first.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1)
    assert second.oldest(later, 5) == [point(1).memory.id]


def test_what_was_known_of_an_earlier_agent_costs_a_later_one_nothing(pair: Any, mine: Collection) -> None:
    """A process that has just read of the agent that was deleted, as a web process has."""
    first, second, _ = pair
    later = mine._replace(agent_id=new_id())
    second.upsert(mine, SPACE, [point(0)])
    assert first.count(mine, EVERYTHING) == 1
    second.drop(mine)
    second.upsert(later, SPACE, [point(1)])
    assert first.count(later, EVERYTHING) == 1
    assert first.search(later, SPACE, vector(1), where=EVERYTHING, limit=5) != []
    assert second.oldest(later, 5) == [point(1).memory.id]


def test_collections_of_somebody_else_on_the_server_are_left_alone(pair: Any, mine: Collection) -> None:
    first, _, _ = pair
    from qdrant_client import models

    for name in ("somebody", mine.name.upper(), f"{mine.name}2", mine.name.replace("_context", "")):
        first._client.create_collection(
            name, vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE)
        )
    first.upsert(mine, SPACE, [point(0)])
    assert first.collections(mine.key) == [mine]


def test_a_collection_that_was_made_by_hand_is_not_taken_for_ours(pair: Any, mine: Collection) -> None:
    first, _, _ = pair
    from qdrant_client import models

    size = models.VectorParams(size=SPACE.dimensions, distance=models.Distance.COSINE)
    first._client.create_collection(mine.name, vectors_config={"named": size})
    with pytest.raises(MemoryUnavailable, match="not made by this system"):
        first.upsert(mine, SPACE, [point(0)])
    first._client.delete_collection(mine.name)
    first._client.create_collection(mine.name, vectors_config=size)
    with pytest.raises(DimensionsChanged, match="an unknown model"):
        first.upsert(mine, SPACE, [point(0)])
