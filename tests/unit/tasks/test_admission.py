"""Deliveries share a node's slots: never more than there are, never more of one user than the cap, and by turns."""

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
        user, message = self.got[index]
        self.admission.enter(message.headers["id"], user)

    def end(self, user: UUID) -> None:
        self.admission.leave(user)
        self.admission.admit_waiting()

    @property
    def users(self) -> list[UUID]:
        return [user for user, _ in self.got]


def test_no_more_than_the_slots_are_admitted_and_the_rest_as_they_end() -> None:
    pool = _Pool(Admission(slots=2, cap=10))
    for _ in range(4):
        pool.deliver(ANN)
    assert len(pool.got) == 2
    pool.begin(0)
    assert len(pool.got) == 2, "a task that begins frees nothing"
    pool.end(ANN)
    assert len(pool.got) == 3


def test_one_users_flood_leaves_room_for_another() -> None:
    pool = _Pool(Admission(slots=10, cap=3))
    for _ in range(8):
        pool.deliver(ANN)
    pool.deliver(BOB)
    assert pool.users == [ANN] * 3 + [BOB]


def test_those_who_wait_are_admitted_by_turns() -> None:
    pool = _Pool(Admission(slots=1, cap=10))
    pool.deliver(ANN)
    pool.begin(0)
    for user in (ANN, ANN, ANN, BOB, BOB):
        pool.deliver(user)
    for index in range(1, 6):
        pool.end(pool.users[-1])
        pool.begin(index)
    assert pool.users == [ANN, ANN, BOB, ANN, BOB, ANN]


def test_a_message_that_is_settled_without_a_task_frees_its_place() -> None:
    pool = _Pool(Admission(slots=1, cap=1))
    message = pool.deliver(ANN)
    pool.deliver(ANN)
    assert len(pool.got) == 1
    message.reject()
    assert message.settled == ["reject"]
    assert len(pool.got) == 2


def test_what_came_by_a_closed_channel_is_left_to_the_broker() -> None:
    pool = _Pool(Admission(slots=1, cap=1))
    pool.deliver(ANN)
    pool.begin(0)
    pool.deliver(ANN)
    pool.is_open = False
    pool.end(ANN)
    assert len(pool.got) == 1


def test_a_lost_connection_forgets_deliveries_but_not_the_work() -> None:
    admission = Admission(slots=2, cap=2)
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
    cap=st.integers(1, 5),
)
def test_neither_bound_is_ever_exceeded(steps: list[str], slots: int, cap: int) -> None:
    pool = _Pool(Admission(slots=slots, cap=cap))
    begun: list[UUID] = []
    ended = 0
    for step in steps:
        if step in {"ann", "bob"}:
            pool.deliver(ANN if step == "ann" else BOB)
        elif step == "begin" and len(begun) < len(pool.got):
            pool.begin(len(begun))
            begun.append(pool.users[len(begun)])
        elif step == "end" and ended < len(begun):
            pool.end(begun[ended])
            ended += 1
        present = pool.users[ended:]
        assert len(present) <= slots
        assert all(present.count(user) <= cap for user in (ANN, BOB))
