"""What comes again and again is said once in a while, for each key by itself, and not without bound."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clock import Clock
from workspace.seldom import Seldom

INTERVAL = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


def test_it_says_yes_once_in_its_interval_and_how_often_it_said_no(clock: Clock) -> None:
    seldom = Seldom(INTERVAL, clock=clock)
    assert [seldom.ask("a") for _ in range(3)] == [0, None, None]
    clock.now += INTERVAL - 0.001
    assert seldom.ask("a") is None
    clock.now += 0.001
    assert [seldom.ask("a") for _ in range(2)] == [3, None]
    clock.now += INTERVAL
    assert seldom.ask("a") == 1


def test_each_key_has_its_own_turn(clock: Clock) -> None:
    seldom = Seldom(INTERVAL, clock=clock)
    assert [seldom.ask("a"), seldom.ask("b"), seldom.ask("a"), seldom.ask("b")] == [0, 0, None, None]


def test_the_keys_that_may_be_said_soonest_are_forgotten_first(clock: Clock) -> None:
    seldom = Seldom(INTERVAL, size=2, clock=clock)
    for key in ("a", "b", "c"):
        assert seldom.ask(key) == 0
        clock.now += 1
    assert [seldom.ask(key) for key in ("b", "c")] == [None, None]
    assert seldom.ask("a") == 0


def test_of_many_threads_one_is_told_yes() -> None:
    seldom = Seldom(INTERVAL)
    gate = threading.Barrier(8)

    def ask(_: int) -> int | None:
        gate.wait(10)
        return seldom.ask()

    with ThreadPoolExecutor(8) as threads:
        assert sorted(str(answer) for answer in threads.map(ask, range(8))) == ["0", *["None"] * 7]
