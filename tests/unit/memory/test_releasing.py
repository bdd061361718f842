"""Letting go of memories, as a node does that loses its claims: of all of them at once, and held up by nothing."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from settings import load_settings
from tests.support.offline import offline_environment
from tests.support.waiting import eventually
from workspace.errors import MemoryUnavailable
from workspace.memory.agent_memories import AgentMemories
from workspace.names import WorkspaceKey


class Store:
    """An engine that takes its time."""

    def __init__(self) -> None:
        self.released: list[set[WorkspaceKey]] = []
        self.may_go_on = threading.Event()

    def release(self, *keys: WorkspaceKey) -> None:
        assert self.may_go_on.wait(10)
        self.released.append(set(keys))
        raise MemoryUnavailable

    def close(self) -> None:
        self.may_go_on.set()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def memories(store: Store) -> Iterator[AgentMemories]:
    nobody: Any = None
    with offline_environment():
        made = AgentMemories(load_settings(), nobody, store=store)  # type: ignore[arg-type]
    yield made
    made.close()


def new_key() -> WorkspaceKey:
    return WorkspaceKey(uuid4(), uuid4())


def threads() -> int:
    return sum(each.name == "memory-release" for each in threading.enumerate())


def test_of_however_many_workspaces_one_thread_lets_go(memories: AgentMemories, store: Store) -> None:
    keys = [new_key() for _ in range(500)]
    assert not any(memories.release(key) for key in keys)
    assert threads() == 1
    store.may_go_on.set()
    assert memories.release(last := new_key(), within=10)
    assert set().union(*store.released) == {*keys, last}
    assert len(store.released) <= 3
    eventually(lambda: threads() == 0, "the end of the thread")
    assert memories.release(last, within=10), "it begins again"


def test_that_no_thread_can_be_started_ends_nobody_elses_work(
    memories: AgentMemories, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.may_go_on.set()
    first, second = new_key(), new_key()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not memories.release(first)
    assert memories.release(second, within=10)
    assert store.released == [{first, second}]
