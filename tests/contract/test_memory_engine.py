"""The memory engine between requests: what it lets go of, writes and has built, by a clock that is set."""

import os
import signal
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import new_id
from tests.support.clock import Clock
from tests.support.memories import SPACE, memory, new_collection, point, vector
from tests.support.waiting import eventually
from workspace.memory.edge import collection as open_collection
from workspace.memory.edge import engine as engine_module
from workspace.memory.edge.engine import FLUSHED_AFTER, IDLE_FOR, TICK, Engine
from workspace.memory.edge.folders import Folders
from workspace.memory.edge.shard import ShardBroken, ShardInUse
from workspace.memory.edge.wire import Op, Outcome, Reply, Request
from workspace.memory.memories import EVERYTHING, VectorSpace
from workspace.names import Collection


class Rig:
    """An engine in this process, its node's end of the channel, and its clock."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.clock = Clock(100.0)
        self.channel, self._theirs = Pipe()
        self.engine = Engine(self._theirs, base, clock=self.clock)
        self._number = 0

    def send(self, op: Op, collection: Collection | None, *arguments: Any, patience: float = 1e6) -> None:
        self._number += 1
        self.channel.send(Request(self._number, op, collection, arguments, self.clock.now + patience))

    def ask(self, op: Op, collection: Collection | None, *arguments: Any) -> Reply:
        self.send(op, collection, *arguments)
        assert self.engine.turn()
        reply: Reply = self.channel.recv()
        assert reply.number == self._number
        return reply

    def get(self, op: Op, collection: Collection, *arguments: Any) -> Any:
        reply = self.ask(op, collection, *arguments)
        assert reply.outcome is Outcome.DONE, reply
        return reply.value

    def pass_time(self, seconds: float) -> None:
        """Let time pass without a request, for as many turns as things may be due."""
        self.clock.now += seconds
        for _ in range(3):
            self.clock.now += TICK
            assert self.engine.turn()

    def is_free(self, collection: Collection) -> bool:
        """Whether another process could open a collection."""
        try:
            folder = Folders(self.base).open(collection)
        except ShardInUse:
            return False
        if folder is not None:
            folder.unlock()
        return True

    def close(self) -> None:
        if self.channel.closed:
            return
        self.channel.close()
        self.engine.run()
        self._theirs.close()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(engine_module, "wait", _at_once)
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def _at_once(channels: list[Connection], _timeout: float | None) -> list[Any]:
    from multiprocessing.connection import wait

    return wait(channels, 0)


def begin(rig: Rig, count: int = 1) -> list[Collection]:
    """Make collections of one memory each."""
    made = [new_collection() for _ in range(count)]
    for each in made:
        rig.get(Op.UPSERT, each, SPACE, [point(0)])
    return made


def test_a_collection_that_nobody_uses_is_let_go_of(rig: Rig) -> None:
    used, idle = begin(rig, 2)
    rig.clock.now += IDLE_FOR
    assert rig.get(Op.COUNT, used, EVERYTHING) == 1
    assert not rig.is_free(idle)
    rig.pass_time(1)
    assert rig.is_free(idle)
    assert not rig.is_free(used)
    assert rig.get(Op.COUNT, idle, EVERYTHING) == 1


def test_what_is_due_is_done_although_requests_never_end(rig: Rig) -> None:
    used, idle = begin(rig, 2)
    for _ in range(int(IDLE_FOR / 60) + 2):
        rig.clock.now += 60
        rig.get(Op.COUNT, used, EVERYTHING)
    assert rig.is_free(idle)


def test_of_too_many_the_one_that_was_not_used_for_the_longest_time_is_let_go_of(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "MOST_OPEN", 2)
    first, second = begin(rig, 2)
    rig.get(Op.COUNT, first, EVERYTHING)
    (third,) = begin(rig)
    assert (rig.is_free(first), rig.is_free(second), rig.is_free(third)) == (False, True, False)


def test_the_memory_that_open_collections_take_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MOST_PINNED", 20)  # bytes: two memories of eight dimensions
    first, second, third = begin(rig, 3)
    assert not rig.is_free(first)
    (fourth,) = begin(rig)
    assert (rig.is_free(first), rig.is_free(second)) == (True, False)
    assert (rig.is_free(third), rig.is_free(fourth)) == (False, False)


def test_what_is_only_in_the_log_is_written_in_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[float] = []
    real = open_collection.OpenCollection.flush

    def flush(opened: open_collection.OpenCollection) -> None:
        flushed.append(rig.clock.now)
        real(opened)

    monkeypatch.setattr(open_collection.OpenCollection, "flush", flush)
    (mine,) = begin(rig)
    rig.pass_time(FLUSHED_AFTER / 2)
    assert flushed == []
    rig.pass_time(FLUSHED_AFTER / 2)
    assert len(flushed) == 1
    rig.pass_time(FLUSHED_AFTER * 2)
    assert len(flushed) == 1, "nothing was written since"
    monkeypatch.setattr(open_collection, "MOST_LOGGED", 100_000)
    rig.get(Op.UPSERT, mine, SPACE, [point(1, text="x" * 10_000)])
    assert len(flushed) == 1
    rig.get(Op.UPSERT, mine, SPACE, [point(1, text="x" * 20_000)])
    assert len(flushed) == 2, "the log would grow without end"


def test_a_memory_that_cannot_be_written_is_let_go_of_and_harms_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk may be full, or broken. What was confirmed is in the log."""
    broken, healthy = begin(rig, 2)
    real = open_collection.OpenCollection.flush

    def flush(opened: open_collection.OpenCollection) -> None:
        if opened.folder.collection == broken:
            raise ShardBroken("no space left on device")
        real(opened)

    monkeypatch.setattr(open_collection.OpenCollection, "flush", flush)
    rig.pass_time(FLUSHED_AFTER)
    assert (rig.is_free(broken), rig.is_free(healthy)) == (True, False)
    assert rig.get(Op.COUNT, broken, EVERYTHING) == 1
    assert rig.get(Op.COUNT, healthy, EVERYTHING) == 1


def test_a_build_that_cannot_be_begun_keeps_no_memory_locked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process(*_: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(open_collection, "MOST_SCANNED", 32)
    monkeypatch.setattr(engine_module, "Build", no_process)
    (mine,) = begin(rig)
    rig.pass_time(0)
    assert rig.is_free(mine)
    assert rig.get(Op.COUNT, mine, EVERYTHING) == 1


def test_a_request_that_came_too_late_is_not_carried_out(rig: Rig) -> None:
    (mine,) = begin(rig)
    rig.send(Op.DELETE_WHERE, mine, EVERYTHING, patience=-1)
    assert rig.engine.turn()
    assert not rig.channel.poll()
    assert rig.get(Op.COUNT, mine, EVERYTHING) == 1


def test_a_request_that_cannot_be_carried_out_harms_no_other(rig: Rig) -> None:
    (mine,) = begin(rig)
    assert rig.ask(Op.COUNT, mine, "no filter").outcome is Outcome.BROKEN
    assert rig.ask(Op.COUNT, mine).outcome is Outcome.REFUSED
    assert rig.ask(Op.UPSERT, mine, SPACE, ["no point"]).outcome is Outcome.BROKEN
    assert rig.ask(Op.UPSERT, mine, VectorSpace("other", 8), []).outcome is Outcome.CHANGED
    assert rig.ask(Op.SEARCH, mine, SPACE, vector(1, dimensions=3), EVERYTHING, 1).outcome is Outcome.REFUSED
    assert rig.get(Op.COUNT, mine, EVERYTHING) == 1


# -- builds -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def building(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> tuple[Collection, Any]:
    """A collection whose index is being built."""
    monkeypatch.setattr(open_collection, "MOST_SCANNED", 32 * 50)
    (mine,) = begin(rig)
    rig.get(Op.UPSERT, mine, SPACE, [point(n) for n in range(60)])
    rig.pass_time(0)
    (build,) = rig.engine._building.values()
    os.kill(build.build._process.pid, signal.SIGSTOP)  # for as long as the test wants
    return mine, build.build


def let_go_on(build: Any) -> None:
    os.kill(build._process.pid, signal.SIGCONT)
    eventually(lambda: build.result() is not None, "the end of the build")


def test_requests_wait_for_the_end_of_a_build_in_their_order(rig: Rig, building: tuple[Collection, Any]) -> None:
    mine, build = building
    (neighbour,) = begin(rig)
    assert not rig.is_free(mine), "another process could have taken it"
    rig.send(Op.DELETE, mine, [memory(0).id])
    rig.send(Op.COUNT, mine, EVERYTHING)
    rig.send(Op.COUNT, mine, EVERYTHING, patience=1)
    for _ in range(3):
        assert rig.engine.turn()
    assert not rig.channel.poll()
    assert rig.get(Op.COUNT, neighbour, EVERYTHING) == 1
    rig.clock.now += 2
    let_go_on(build)
    assert rig.engine.turn()
    assert [rig.channel.recv().value for _ in range(2)] == [None, 59]
    assert not rig.channel.poll(), "an answer that nobody waits for any more"
    rig.pass_time(10)
    assert rig.engine._building == {}, "built again for nothing"


def test_one_index_is_built_at_a_time(rig: Rig, building: tuple[Collection, Any]) -> None:
    _, build = building
    (other,) = begin(rig)
    rig.get(Op.UPSERT, other, SPACE, [point(n) for n in range(60)])
    rig.pass_time(0)
    assert len(rig.engine._building) == 1
    let_go_on(build)
    assert rig.engine.turn()
    rig.pass_time(0)
    assert list(rig.engine._building) == [other.name]


def test_who_waits_for_a_build_is_told_when_the_collection_is_let_go_of(
    rig: Rig, building: tuple[Collection, Any]
) -> None:
    mine, build = building
    rig.send(Op.COUNT, mine, EVERYTHING)
    assert rig.engine.turn()
    rig.send(Op.RELEASE, None, mine.key)
    assert rig.engine.turn()
    assert [rig.channel.recv().outcome for _ in range(2)] == [Outcome.IN_USE, Outcome.DONE]
    assert build.result() == -signal.SIGKILL
    assert rig.is_free(mine)
    assert rig.get(Op.COUNT, mine, EVERYTHING) == 60


def test_a_later_agent_does_not_read_what_is_being_built_and_an_earlier_one_does_not_end_it(
    rig: Rig, building: tuple[Collection, Any]
) -> None:
    mine, build = building
    assert rig.ask(Op.DROP, mine._replace(agent_id=UUID(int=1))).outcome is Outcome.DONE
    assert build.result() is None
    later = mine._replace(agent_id=new_id())
    rig.send(Op.COUNT, later, EVERYTHING)
    rig.send(Op.COUNT, mine, EVERYTHING)
    assert rig.engine.turn()
    assert rig.engine.turn()
    let_go_on(build)
    assert rig.engine.turn()
    assert [rig.channel.recv().value for _ in range(2)] == [0, 0]
    assert rig.is_free(mine)


def test_the_end_of_the_node_ends_a_build(rig: Rig, building: tuple[Collection, Any], tmp_path: Path) -> None:
    mine, build = building
    rig.send(Op.COUNT, mine, EVERYTHING)
    rig.close()
    assert build.result() == -signal.SIGKILL
    assert rig.is_free(mine)
    other = Rig(tmp_path)
    assert other.get(Op.COUNT, mine, EVERYTHING) == 60
    other.close()
