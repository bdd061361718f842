"""Agents' memory as a web process has it: every method, through the broker and the host, gives what it gives there."""

import json
import time
from datetime import timedelta
from uuid import uuid4

import pytest

from settings import load_settings
from tests.integration.core.world import World
from tests.integration.memory.asker import Asker
from tests.support.memories import START, memory
from workspace.errors import InvalidInput, MemoryUnavailable, NotFound
from workspace.memory.calls import MOST_BYTES
from workspace.memory.door import Pruned, Restored
from workspace.memory.memories import Filter, InteractionType, Provenance
from workspace.memory.remote import RemoteMemory

pytestmark = pytest.mark.stack

MINUTE = timedelta(minutes=1)
TABS = "The owner prefers tabs over spaces."
CAKE = "A recipe for a cherry cake with cream."


@pytest.fixture
def world(asker: Asker) -> World:
    return asker.world()


@pytest.fixture
def mine(asker: Asker, world: World) -> RemoteMemory:
    return asker.memory(world)


def test_what_was_remembered_is_found(mine: RemoteMemory) -> None:
    assert mine.search("anything") == []
    kept = memory(0, text=TABS, session_id=uuid4(), run_id=uuid4(), success=False, provenance=Provenance.AGENT)
    mine.remember([kept, memory(1, text=CAKE, interaction_type=InteractionType.NOTE)])
    (found,) = mine.search("does the owner prefer tabs over spaces?")
    assert found.memory == kept
    assert 0.3 <= found.score <= 1.0
    assert mine.search("the owner prefers tabs", where=Filter(success=True)) == []
    assert mine.search("the owner prefers tabs", min_score=0.999) == []
    assert mine.search("the owner prefers tabs", token_budget=1) == []


def test_it_can_be_listed_counted_and_forgotten(mine: RemoteMemory) -> None:
    memories = [memory(n, run_id=uuid4()) for n in range(8)]
    mine.remember(memories)
    assert mine.count() == 8
    assert mine.count(Filter(since=START + 6 * MINUTE)) == 2
    page = mine.page(limit=3)
    assert page.items == memories[:4:-1]
    assert mine.page(limit=5, after=page.next_cursor).items == memories[4::-1]
    assert mine.page(limit=9, newest_first=False).items == memories
    mine.forget([memories[0].id, uuid4()])
    assert mine.forget_where(Filter(run_id=memories[1].run_id)) == 1
    stats = mine.stats()
    assert (stats.vectors, stats.success_rate) == (6, 1.0)
    assert stats.by_type[InteractionType.CONVERSATION] == 6
    assert stats.space is not None
    assert mine.prune(keep=4, dry_run=True) == mine.prune(keep=4) == Pruned(0, 2)
    assert mine.prune(older_than=START + 5 * MINUTE) == Pruned(1, 0)
    assert mine.clear() == 3
    assert mine.stats().space is None
    mine.drop()


def test_mistakes_come_back_as_what_they_are(mine: RemoteMemory) -> None:
    for limit in (0, 1_001):
        with pytest.raises(InvalidInput, match="between 1 and 1000"):
            mine.search("tabs", limit=limit)
    with pytest.raises(InvalidInput):
        mine.prune()
    with pytest.raises(InvalidInput, match="no text"):
        mine.remember([memory(0, text=" ")])


def test_an_export_comes_in_parts_and_can_be_read_back(asker: Asker, mine: RemoteMemory) -> None:
    long = "a long text, " * 1_000
    mine.remember([memory(n, text=f"{n} {long}") for n in range(100)])
    lines = list(mine.export())
    assert sum(map(len, lines)) > 2 * MOST_BYTES
    assert [json.loads(line)["text"].split()[0] for line in lines] == [str(n) for n in range(100)]
    assert [each.text.split()[0] for each in mine.page(limit=100).items] == [str(n) for n in reversed(range(100))]
    other = asker.memory(asker.world())
    for _ in range(2):  # twice is once
        assert other.restore(lines) == Restored(stored=100, embedded=0)
    assert [json.loads(line) | {"provenance": "conversation"} for line in other.export()] == [
        json.loads(line) | {"provenance": "conversation"} for line in lines
    ]


def test_an_import_needs_texts_only_and_names_the_line_that_is_wrong(mine: RemoteMemory) -> None:
    lines: list[str | bytes] = [json.dumps({"text": f"number {n}"}) for n in range(100)]
    lines[3] = "\n"
    assert mine.restore(lines) == Restored(stored=99, embedded=99)
    created = {each.created_at for each in mine.page(limit=100).items}
    assert len(created) == 1, "all parts of an import are of one time"
    for bad in ('{"text": ""}', b'{"text": "\xff"}', '{"text": "\ud800"}', "x" * 1_000_001):
        with pytest.raises(InvalidInput, match=r"^Line 72: "):
            mine.restore([*lines[:71], bad])
    assert mine.count() == 99 + 4 * 2 * asker_batch(), "what came in the parts before is kept"


def asker_batch() -> int:
    return load_settings().embedding_batch


def test_the_first_request_finds_a_host(asker: Asker, world: World, mine: RemoteMemory) -> None:
    assert world.workspace().node_id is None
    assert mine.count() == 0
    assert world.workspace().node_id is not None


def test_who_is_not_answered_in_time_is_told_so(asker: Asker) -> None:
    """A workspace whose row names a host that nobody has ever seen."""
    world = asker.world()
    world.change_workspace(node_id="nobody", epoch=7)
    asker.client.set(world.key.lease, "nobody", px=60_000)
    began = time.monotonic()
    with pytest.raises(MemoryUnavailable):
        asker.memory(world).count()
    assert 4.9 <= time.monotonic() - began < 8
    asker.client.delete(world.key.lease)


def test_a_project_that_is_gone_has_no_memory(asker: Asker) -> None:
    world = asker.world()
    stranger = asker.memories.of(world.key._replace(project_id=uuid4()), "helper", world.agent_id)
    with pytest.raises(NotFound):
        stranger.count()


def test_nothing_is_left_behind(asker: Asker, world: World, mine: RemoteMemory) -> None:
    of_others = asker.replies()  # to questions of tests before this one that nobody waited for any more
    mine.remember([memory()])
    assert mine.count() == 1
    assert set(asker.replies()) <= set(of_others)
    assert asker.broker.keys(f"*{world.key.requests_queue}*") == []
