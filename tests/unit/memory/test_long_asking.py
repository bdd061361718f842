"""What is asked in parts: the building of an index in the middle ends nothing, and a host that is away does at once."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import pytest

from models import new_id
from workspace.errors import MemoryInUse, MemoryUnavailable
from workspace.memory import remote
from workspace.memory.asking import Unanswered
from workspace.memory.calls import Call, Restore
from workspace.memory.door import Restored
from workspace.names import WorkspaceKey

LINES = [f'{{"text": "number {number}"}}\n' for number in range(4)]


class Host:
    """Answers, or raises, in the given order; after that it answers."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[Restore] = []

    def ask(self, _key: WorkspaceKey, call: Call) -> Restored:
        assert isinstance(call, Restore)
        self.asked.append(call)
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        return Restored(len(call.lines), 0)


def memory_of(host: Host) -> remote.RemoteMemory:
    asking: Any = host
    return remote.RemoteMemory(asking, WorkspaceKey(uuid4(), uuid4()), "coder", new_id(), batch=2)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0.001)


@pytest.mark.parametrize("error", [Unanswered(), MemoryInUse()])
def test_a_part_that_meets_the_building_of_an_index_is_asked_for_again_as_it_was(error: Exception) -> None:
    host = Host(None, error, error)

    assert memory_of(host).restore(LINES) == Restored(4, 0)
    assert [[line.number for line in call.lines] for call in host.asked] == [[1, 2], [3, 4], [3, 4], [3, 4]]
    assert len({call.now for call in host.asked}) == 1, "or else a line without an id would become two memories"


def test_a_host_that_never_answered_is_not_waited_for() -> None:
    host = Host(Unanswered())

    with pytest.raises(Unanswered):
        memory_of(host).restore(LINES)
    assert len(host.asked) == 1


def test_what_waiting_does_not_mend_is_told_at_once() -> None:
    host = Host(None, MemoryUnavailable())

    with pytest.raises(MemoryUnavailable):
        memory_of(host).restore(LINES)
    assert len(host.asked) == 2


def test_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS_FOR_INDEX", 0.05)
    errors: Iterable[Exception] = (Unanswered() for _ in range(10_000))

    with pytest.raises(Unanswered):
        memory_of(Host(None, *errors)).restore(LINES)
