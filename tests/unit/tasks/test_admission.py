"""Deliveries share a node's slots: never more than there are, and by turns of their users."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from tasks.admission import Admission

ANN, BOB = UUID(int=1), UUID(int=2)


def _message() -> Any:
    message = SimpleNamespace(headers={"id": str(uuid4())}, delivery_tag="x", settled=[])
    message.ack = lambda *_: message.settled.append("ack")
    message.reject = lambda *_: message.settled.append("reject")
    return message


class _Pool:
    """Takes what is admitted, as the worker's pool does."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.got: list[tuple[UUID, Any]] = []
        self.is_open = True

    def deliver(self, user: UUID) -> Any:
        message = _message()
        self.admission.deliver(user, message, lambda each: self.got.append((user, each)), lambda: self.is_open)
        return message

    def begin(self, index: int) -> None:
        _, message = self.got[index]
        self.admission.enter(message.headers["id"])

    def end(self) -> None:
        self.admission.leave()
        self.admission.admit_waiting()

    @property
    def users(self) -> list[UUID]:
        return [user for user, _ in self.got]


def test_no_more_than_the_slots_are_admitted_and_the_rest_as_they_end() -> None:
    pool = _Pool(Admission(slots=2))
    for _ in range(4):
        pool.deliver(ANN)
    assert len(pool.got) == 2
    pool.begin(0)
    assert len(pool.got) == 2, "a task that begins frees nothing"
    pool.end()
    assert len(pool.got) == 3


def test_one_users_flood_lets_another_go_next() -> None:
    pool = _Pool(Admission(slots=3))
    for _ in range(8):
        pool.deliver(ANN)
    pool.deliver(BOB)
    assert pool.users == [ANN] * 3
    for index in range(2):
        pool.begin(index)
        pool.end()
    assert pool.users == [ANN] * 4 + [BOB]


def test_those_who_wait_are_admitted_by_turns() -> None:
    pool = _Pool(Admission(slots=1))
    pool.deliver(ANN)
    pool.begin(0)
    for user in (ANN, ANN, ANN, BOB, BOB):
        pool.deliver(user)
    for index in range(1, 6):
        pool.end()
        pool.begin(index)
    assert pool.users == [ANN, ANN, BOB, ANN, BOB, ANN]


def test_a_message_that_is_settled_without_a_task_frees_its_place() -> None:
    pool = _Pool(Admission(slots=1))
    message = pool.deliver(ANN)
    pool.deliver(ANN)
    assert len(pool.got) == 1
    message.reject()
    assert message.settled == ["reject"]
    assert len(pool.got) == 2


def test_what_came_by_a_closed_channel_is_left_to_the_broker() -> None:
    pool = _Pool(Admission(slots=1))
    pool.deliver(ANN)
    pool.begin(0)
    pool.deliver(ANN)
    pool.is_open = False
    pool.end()
    assert len(pool.got) == 1


def test_a_lost_connection_forgets_deliveries_but_not_the_work() -> None:
    admission = Admission(slots=2)
    pool = _Pool(admission)
    pool.deliver(ANN)
    pool.begin(0)
    pool.deliver(ANN)
    admission.forget()
    pool.deliver(ANN)
    pool.deliver(ANN)
    assert len(pool.got) == 3, "one works, so one more may be admitted"


@given(
    steps=st.lists(st.sampled_from(["ann", "bob", "begin", "end"]), max_size=60),
    slots=st.integers(1, 5),
)
def test_the_slots_are_never_exceeded_and_none_stays_empty_while_something_waits(steps: list[str], slots: int) -> None:
    pool = _Pool(Admission(slots=slots))
    begun = ended = delivered = 0
    for step in steps:
        if step in {"ann", "bob"}:
            pool.deliver(ANN if step == "ann" else BOB)
            delivered += 1
        elif step == "begin" and begun < len(pool.got):
            pool.begin(begun)
            begun += 1
        elif step == "end" and ended < begun:
            pool.end()
            ended += 1
        assert len(pool.got) - ended == min(slots, delivered - ended)
