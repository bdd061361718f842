"""The desk of a host: what it carries out, what it does not, and for whom."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from settings import load_settings
from tasks.request_desk import REPLY_KEPT, RequestDesk
from tests.support.memories import memory
from tests.support.scripted_server import Answer, scripted_server
from tests.support.waiting import eventually
from workspace.errors import MemoryUnavailable
from workspace.memory.agent_memories import ENGINES, AgentMemories
from workspace.memory.calls import Call, Clear, Count, Remember, Search
from workspace.memory.edge.store import QdrantEdgeStore
from workspace.memory.memories import EVERYTHING
from workspace.memory.wire import of_reply, to_request
from workspace.metrics import MEMORY_REQUESTS_SERVED
from workspace.names import WorkspaceKey, reply_list
from workspace.tenure import Tenure

pytestmark = pytest.mark.stack

AGENT: dict[str, Any] = {"agent_name": "coder", "agent_id": UUID(int=7)}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantEdgeStore]:
    store = QdrantEdgeStore(tmp_path_factory.mktemp("desk"))
    yield store
    store.close()


class Office:
    """A desk with its workspaces."""

    def __init__(self, client: redis.Redis, edge: QdrantEdgeStore, **options: Any) -> None:
        self.client = client
        self.memories = AgentMemories(load_settings().model_copy(update=options), client, store=edge)
        self.tenures: dict[WorkspaceKey, Tenure] = {}
        self.desk = RequestDesk(self.memories, client, tenure_of=self.tenures.get)

    def hosted(self) -> WorkspaceKey:
        key = WorkspaceKey(uuid4(), uuid4())
        self.tenures[key] = Tenure(1, sure_until=time.monotonic() + 600)
        return key

    def send(self, key: WorkspaceKey, call: Call, *, seconds: float = 5.0) -> UUID:
        request_id = uuid4()
        self.desk.take(key, to_request(request_id, call, seconds=seconds))
        return request_id

    def reply(self, call: Call, request_id: UUID) -> Any:
        found: Any = self.client.blpop([reply_list(request_id)], timeout=20)
        assert found is not None, "no reply"
        return of_reply(call, found[1])

    def ask(self, key: WorkspaceKey, call: Call) -> Any:
        return self.reply(call, self.send(key, call))

    def count(self, key: WorkspaceKey) -> int:
        """How many memories there are, by no request."""
        return self.memories.of(key, "coder", AGENT["agent_id"]).count(EVERYTHING)


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(load_settings().redis_url) as client:
        yield client


@pytest.fixture
def office(client: redis.Redis, edge: QdrantEdgeStore) -> Iterator[Office]:
    office = Office(client, edge)
    yield office
    done(office)


def done(office: Office) -> None:
    office.desk.stop()
    eventually(lambda: not office.desk._at_work, "the desk to be done")
    office.memories._embeddings.close()


def served(op: str, outcome: str) -> float:
    return MEMORY_REQUESTS_SERVED.labels(op, outcome)._value.get()


def test_a_request_is_carried_out_and_counts_as_use(office: Office) -> None:
    key = office.hosted()
    tenure = office.tenures[key]
    tenure.last_used -= 100
    assert office.ask(key, Remember(**AGENT, memories=[memory()])) is None
    assert office.ask(key, Count(**AGENT)) == office.count(key) == 1
    assert tenure.idle_seconds < 50


@pytest.mark.parametrize("call", [Clear(**AGENT), Remember(**AGENT, memories=[memory(2)])], ids=lambda call: call.op)
def test_a_request_that_comes_after_its_deadline_is_not_carried_out(office: Office, call: Call) -> None:
    key, before = office.hosted(), served(call.op, "expired")
    office.ask(key, Remember(**AGENT, memories=[memory()]))
    request_id = office.send(key, call, seconds=-0.01)
    eventually(lambda: served(call.op, "expired") == before + 1 or office.count(key) != 1, "the request to be dropped")
    eventually(lambda: not office.desk.at_work(key), "the desk to be done")
    assert office.count(key) == 1
    assert not office.client.exists(reply_list(request_id))


@pytest.mark.parametrize("state", ["suspended", "closing", "not sure", "not hosted"])
def test_nothing_is_done_for_a_workspace_that_another_node_may_host(office: Office, state: str) -> None:
    key = office.hosted()
    office.ask(key, Remember(**AGENT, memories=[memory()]))
    match state:
        case "suspended":
            office.tenures[key].suspended = True
        case "closing":
            office.tenures[key].closing = True
        case "not sure":
            office.tenures[key].sure_until = time.monotonic() - 0.001
        case _:
            del office.tenures[key]
    for call in (Clear(**AGENT), Count(**AGENT), Remember(**AGENT, memories=[memory(2)])):
        with pytest.raises(MemoryUnavailable, match="changes its host"):
            office.ask(key, call)
    assert office.count(key) == 1


def test_a_message_reaches_no_workspace_but_that_of_its_queue(office: Office) -> None:
    """Whatever it says of the agent: names and ids are looked up within the workspace only."""
    mine, theirs = office.hosted(), office.hosted()
    office.ask(theirs, Remember(**AGENT, memories=[memory()]))
    assert office.ask(mine, Count(**AGENT)) == 0
    assert office.ask(mine, Clear(**AGENT)) == 0
    assert office.ask(mine, Remember(**AGENT, memories=[memory(2), memory(3)])) is None
    assert (office.count(mine), office.count(theirs)) == (2, 1)


def test_messages_that_are_no_requests_harm_nothing(office: Office) -> None:
    key = office.hosted()
    for raw in (b"", b"\xff\xfe", "{}", b'{"op": "count"}', b"[" * 10_000):
        office.desk.take(key, raw)
    assert office.ask(key, Count(**AGENT)) == 0


def test_a_reply_that_nobody_takes_goes_by_itself(office: Office) -> None:
    place = reply_list(office.send(office.hosted(), Count(**AGENT)))
    eventually(lambda: office.client.exists(place), "the reply")
    assert 0 < office.client.ttl(place) <= REPLY_KEPT


def test_the_flood_of_one_user_stops_nobody_else_and_is_answered_at_once(
    client: redis.Redis, edge: QdrantEdgeStore
) -> None:
    with scripted_server() as server:
        server.script = lambda _: Answer(silent=True)
        office = Office(client, edge, openai_base_url=f"{server.url}/v1", memory_search_timeout=20.0)
        flooding, other = office.hosted(), office.hosted()
        searches = [Search(**AGENT, query=f"never embedded {uuid4()}") for _ in range(100)]
        began = time.monotonic()
        sent = [office.send(flooding, each, seconds=3.0) for each in searches]
        assert office.ask(other, Count(**AGENT)) == 0
        with pytest.raises(MemoryUnavailable, match="too much to do"):
            office.reply(searches[-1], sent[-1])
        assert time.monotonic() - began < 2.5, "they waited for the flood"
        # What nobody waits for any more holds no thread, though the server never says a word.
        eventually(lambda: not office.desk.at_work(flooding), "the flood to end", within=10)
        assert time.monotonic() - began < 8
        done(office)


def test_who_closes_a_workspace_can_see_what_is_at_work(
    client: redis.Redis, edge: QdrantEdgeStore, tmp_path: Path
) -> None:
    with scripted_server() as server:
        server.script = lambda _: Answer(silent=True)
        office = Office(client, edge, openai_base_url=f"{server.url}/v1", memory_search_timeout=20.0)
        key = office.hosted()
        assert not office.desk.at_work(key)
        office.send(key, Search(**AGENT, query=f"never embedded {uuid4()}"), seconds=2.0)
        eventually(lambda: office.desk.at_work(key), "the search to begin")
        assert not office.desk.at_work(office.hosted())
        eventually(lambda: not office.desk.at_work(key), "the search to end")
        done(office)


def test_whoever_waits_for_indexes_to_be_built_leaves_threads_to_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, real = threading.Event(), office.memories.of
    waiting = [office.hosted() for _ in range(ENGINES)]

    def of(key: WorkspaceKey, agent_name: str, agent_id: UUID) -> Any:
        return Building(ended) if key in waiting else real(key, agent_name, agent_id)

    monkeypatch.setattr(office.memories, "of", of)
    call = Count(**AGENT)
    asked = [office.send(key, call, seconds=60) for key in waiting for _ in range(6)]
    assert office.ask(office.hosted(), call) == 0
    ended.set()
    assert [office.reply(call, each) for each in asked] == [1] * len(asked)


class Building:
    """A memory whose index is being built."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def count(self, _: object) -> int:
        assert self._ended.wait(30)
        return 1
