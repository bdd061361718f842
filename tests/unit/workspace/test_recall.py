"""A look into memory before an answer: whatever is wrong with memory, the run goes on, and a stop is heard."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from models import new_id
from models.statuses import MessageRole
from settings import Settings, load_settings
from tests.support.memories import memory
from tests.support.offline import offline_environment
from tests.unit.workspace.test_task_run import a_config, a_task
from workspace.agent_config import AgentConfig, AgentMemoryConfig
from workspace.errors import Cancelled, DimensionsChanged, EmbeddingsUnavailable, MemoryUnavailable
from workspace.events import ContextRetrieved, ContextStatus
from workspace.history import PastMessage
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.ledger import StartedTask
from workspace.memory.memories import Found, Memory
from workspace.memory.store import MOST_AT_ONCE
from workspace.recall import Recall
from workspace.recollection import to_row

ASKED = "Which of my bicycles has a flat tyre?"


class Told:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.events: list[ContextRetrieved] = []

    def publish(self, _: Any, *payloads: Any) -> None:
        self.events += payloads


class Door:
    """A memory that answers as a test says."""

    def __init__(self, answer: Callable[[], Sequence[Found]]) -> None:
        self._answer = answer
        self.asked: list[dict[str, Any]] = []

    def of(self, *_: Any) -> "Door":
        return self

    def search(self, query: str, **options: Any) -> Sequence[Found]:
        self.asked.append({"query": query, **options})
        return self._answer()


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with offline_environment():
        yield load_settings()


def recalled(
    settings: Settings,
    door: Door,
    *,
    task: StartedTask | None = None,
    config: AgentConfig | None = None,
    stop: StopSignal | None = None,
    before: Sequence[PastMessage] = (),
) -> tuple[Sequence[Memory], list[ContextRetrieved]]:
    told = Told()
    recall = Recall(door, told, settings)  # type: ignore[arg-type]
    watch = Watch(stop or StopSignal(), deadline=float("inf"), on_wait=lambda: 0.25)
    task = task or a_task()
    conversation = [*before, PastMessage(MessageRole.USER, ASKED, task.run_id)]
    return recall.of(task, config or a_config(), conversation, watch), told.events


def found(number: int, text: str = "words", **fields: Any) -> Found:
    return Found(memory(number, text=text, **fields), 0.5)


def test_what_was_found_is_shown_and_told_without_its_text(settings: Settings) -> None:
    memories, events = recalled(settings, Door(lambda: [found(1, text="a secret"), found(2)]))
    assert [each.text for each in memories] == ["a secret", "words"]
    (event,) = events
    assert event.status is ContextStatus.OK
    assert [(item.id, item.score) for item in event.items] == [(each.id, 0.5) for each in memories]
    assert "secret" not in json.dumps(event.model_dump(mode="json"))


def test_a_long_conversation_asks_for_no_more_than_a_search_can_find(settings: Settings) -> None:
    before = [PastMessage(MessageRole.USER, "x", new_id()) for _ in range(MOST_AT_ONCE)]
    door = Door(lambda: [found(1)])
    memories, _ = recalled(settings, door, before=before)
    assert len(memories) == 1
    assert door.asked[0]["limit"] == MOST_AT_ONCE


@pytest.mark.parametrize(
    "error",
    [
        MemoryUnavailable("It is away."),
        EmbeddingsUnavailable("It is away."),
        DimensionsChanged(expected=1, got=2),
        RuntimeError("a mistake of ours"),
        KeyError("nothing that anybody should be told"),
    ],
)
def test_without_memory_the_run_goes_on_and_the_event_says_so(settings: Settings, error: Exception) -> None:
    def fail() -> Sequence[Found]:
        raise error

    memories, (event,) = recalled(settings, Door(fail))
    assert not memories
    assert (event.status, event.items) == (ContextStatus.UNAVAILABLE, ())
    assert event.detail
    if isinstance(error, MemoryUnavailable):
        assert event.detail == error.detail
    else:
        assert "mistake" not in event.detail
        assert "nothing" not in event.detail


def test_a_stop_is_heard_while_the_store_hangs(settings: Settings) -> None:
    stop, released = StopSignal(), threading.Event()
    timer = threading.Timer(0.2, stop.stop, [Cancelled()])

    def hang() -> Sequence[Found]:
        released.wait(10)
        return []

    began = time.monotonic()
    timer.start()
    try:
        with pytest.raises(Interrupted) as interrupt:
            recalled(settings, Door(hang), stop=stop)
        assert time.monotonic() - began < 1.2
    finally:
        released.set()
    assert isinstance(interrupt.value.failure, Cancelled)


def test_the_agents_config_says_how_many_and_how_like(settings: Settings) -> None:
    door = Door(lambda: [found(n) for n in range(10)])
    config = a_config(memory=AgentMemoryConfig(top_k=3, min_score=0.1))
    memories, _ = recalled(settings, door, config=config)
    assert len(memories) == 3
    assert door.asked[0]["min_score"] == 0.1
    assert door.asked[0]["query"] == ASKED


def test_what_the_history_shows_takes_no_place(settings: Settings) -> None:
    task = a_task()
    own = [found(n, session_id=task.session_id, run_id=task.run_id) for n in range(2)]
    door = Door(lambda: [*own, found(7), found(8)])
    config = a_config(memory=AgentMemoryConfig(top_k=1))
    memories, _ = recalled(settings, door, task=task, config=config)
    assert [each.id for each in memories] == [found(7).memory.id]
    assert door.asked[0]["limit"] > 1


def test_what_is_too_long_for_the_budget_is_passed_over(settings: Settings) -> None:
    long = "x" * (settings.memory_token_budget * 4)
    memories, _ = recalled(settings, Door(lambda: [found(1, text=long), found(2)]))
    assert [each.id for each in memories] == [found(2).memory.id]


def test_an_agent_without_memory_looks_for_nothing_and_tells_nothing(settings: Settings) -> None:
    door = Door(lambda: [found(1)])
    memories, events = recalled(settings, door, config=a_config(memory=AgentMemoryConfig(enabled=False)))
    assert not memories
    assert not events
    assert not door.asked


def test_a_task_with_turns_shows_what_they_were_made_with_and_does_not_look_again(settings: Settings) -> None:
    door = Door(lambda: [found(1)])
    kept = [found(5, text="what it saw before").memory]
    memories, events = recalled(settings, door, task=a_task(attempt=2, recalled=to_row(kept)))
    assert [each.text for each in memories] == ["what it saw before"]
    assert not door.asked
    assert not events
