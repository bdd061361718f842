"""Messages that are settled the moment they are handed over, as those that no task can be made of."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from tasks.admission import Admission

ANN, BOB = UUID(int=1), UUID(int=2)


def message() -> Any:
    return SimpleNamespace(headers={"id": str(uuid4())}, delivery_tag="x", ack=lambda: None, reject=lambda: None)


def test_messages_that_are_refused_at_once_hold_up_nothing_behind_them() -> None:
    admission = Admission(slots=1)
    admission.enter("at work")
    refused: list[Any] = []

    def refuse(each: Any) -> None:
        refused.append(each)
        each.reject()

    waiting = [message() for _ in range(6)]
    for number, each in enumerate(waiting):
        admission.deliver((ANN, BOB)[number % 2], each, refuse, lambda: True)
    assert refused == []
    admission.leave()
    admission.admit_waiting()
    assert len(refused) == len(waiting)
