"""The oldest are forgotten by several at the same moment: never more of them than is too much."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tests.support.memories import SPACE, memory, new_collection, point
from workspace.memory import agent_memory as module
from workspace.memory.agent_memory import AgentMemory, Limits
from workspace.memory.memories import Filter, Point
from workspace.names import Collection

LIMITS = Limits(top_k=5, min_score=0, token_budget=1_000, max_vectors=100, search_timeout=1)


class Store:
    """Ids in memory, and something else that happens once, before or after an answer."""

    def __init__(self, number: int) -> None:
        self.ids = [memory(each).id for each in range(number)]
        self.meanwhile: dict[str, Callable[[], object]] = {}

    def _happen(self, when: str) -> None:
        self.meanwhile.pop(when, lambda: None)()

    def upsert(self, _: Collection, __: object, points: Sequence[Point]) -> None:
        self.ids = sorted({*self.ids, *(each.memory.id for each in points)})

    def oldest(self, _: Collection, number: int) -> list[UUID]:
        self._happen("before oldest")
        found = self.ids[:number]
        self._happen("after oldest")
        return found

    def count(self, _: Collection, __: Filter) -> int:
        self._happen("before count")
        number = len(self.ids)
        self._happen("after count")
        return number

    def delete(self, _: Collection, ids: Sequence[UUID]) -> None:
        self._happen("before delete")
        self.ids = [each for each in self.ids if each not in set(ids)]


MOMENTS = ["before count", "after count", "before oldest", "after oldest", "before delete"]


def memory_in(store: Store) -> AgentMemory:
    embeddings: Any = SimpleNamespace(space=SPACE)
    return AgentMemory(new_collection(), store=store, embeddings=embeddings, limits=LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", MOMENTS)
def test_to_prune_twice_at_the_same_moment_keeps_what_was_to_be_kept(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """As it happens where the first request was not answered in time, and is sent again."""
    monkeypatch.setattr(module, "MOST_AT_ONCE", 7)
    store = Store(60)
    mine = memory_in(store)
    store.meanwhile[moment] = lambda: mine.prune(keep=20)
    mine.prune(keep=20)
    assert store.ids == [memory(each).id for each in range(40, 60)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_two_who_remember_beyond_the_limit_forget_no_more_than_one_does(moment: str) -> None:
    store = Store(100)
    mine = memory_in(store)
    store.meanwhile[moment] = lambda: mine._keep([point(101)])
    mine._keep([point(100)])
    assert store.ids in ([memory(each).id for each in range(first, 102)] for first in (2, 3))
