"""Threads that users share: no flood of one holds up another."""

import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tasks.fair_pool import Bounds, FairPool
from tests.support.waiting import eventually


class Held:
    """Jobs that are at work until they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate = threading.Event()

    def job(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.begun.append(name)
            self.gate.wait(20)

        return work


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.gate.set()


def pool(**bounds: int) -> FairPool:
    return FairPool("test", Bounds(**bounds))


def test_of_one_user_only_so_much_is_at_work_and_others_begin_at_once(held: Held) -> None:
    shared, flooding, other = pool(threads=3, at_once=2), uuid4(), uuid4()
    for number in range(5):
        assert shared.submit(flooding, held.job(f"flood {number}"))
    eventually(lambda: len(held.begun) == 2, "two of the flood")
    assert shared.submit(other, held.job("other"))
    eventually(lambda: "other" in held.begun, "the other one")
    assert len(held.begun) == 3


def test_users_have_their_turns(held: Held) -> None:
    shared, users, begun = pool(threads=1, at_once=1), [uuid4(), uuid4()], []
    assert shared.submit(uuid4(), held.job("first"))
    eventually(lambda: held.begun, "the first")
    for user in users:
        for _ in range(3):
            assert shared.submit(user, lambda user=user: begun.append(user))  # type: ignore[misc]
    held.gate.set()
    eventually(lambda: len(begun) == 6, "all of them")
    assert begun == users * 3


def test_what_waits_is_bounded_for_each_user_and_for_all(held: Held) -> None:
    shared, users = pool(threads=1, at_once=1, waiting=2, all_waiting=3), [uuid4(), uuid4()]
    assert shared.submit(uuid4(), held.job("first"))
    eventually(lambda: held.begun, "the first")
    assert [shared.submit(users[0], held.job("more")) for _ in range(3)] == [True, True, False]
    assert [shared.submit(users[1], held.job("more")) for _ in range(2)] == [True, False]
    held.gate.set()
    eventually(lambda: len(held.begun) == 4, "what waited")
    eventually(lambda: shared.submit(users[0], held.job("again")), "room again")


def test_a_job_that_fails_costs_no_thread(held: Held) -> None:
    shared, user = pool(threads=1, at_once=1), uuid4()

    def fail() -> None:
        raise RuntimeError

    for _ in range(3):
        assert shared.submit(user, fail)
    assert shared.submit(user, held.job("after"))
    eventually(lambda: held.begun, "the job after it")


def test_nothing_begins_after_the_end(held: Held) -> None:
    shared, user = FairPool("ending", Bounds(threads=1, at_once=1)), uuid4()
    assert shared.submit(user, held.job("first"))
    eventually(lambda: held.begun, "the first")
    assert shared.submit(user, held.job("second"))
    shared.stop()
    held.gate.set()
    assert not shared.submit(user, held.job("third"))
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "ending-0"], "its threads to end")
    assert held.begun == ["first"]
