"""Work beside a loop is begun when it is time, one at a time, and its mistakes stay its own."""

import threading

import pytest
from structlog.testing import capture_logs

from tests.support.clock import Clock
from tests.support.waiting import eventually
from workspace.aside import Aside

INTERVAL = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def aside(clock: Clock) -> Aside:
    return Aside("test-aside", INTERVAL, clock=clock)


def test_it_begins_after_each_interval_and_not_at_once(aside: Aside, clock: Clock) -> None:
    done = threading.Semaphore(0)
    assert aside.run(done.release) is False
    clock.now += INTERVAL
    assert aside.run(done.release) is True
    assert done.acquire(timeout=10)
    assert aside.run(done.release) is False
    clock.now += INTERVAL
    assert eventually(lambda: aside.run(done.release), "the next one")
    assert done.acquire(timeout=10)


def test_it_runs_beside_its_caller_and_never_twice_at_once(aside: Aside, clock: Clock) -> None:
    let_go, threads = threading.Event(), []

    def work() -> None:
        threads.append(threading.current_thread())
        let_go.wait(10)

    clock.now += INTERVAL
    assert aside.run(work) is True
    eventually(lambda: threads, "the work")
    clock.now += INTERVAL
    assert aside.run(work) is False
    let_go.set()
    assert eventually(lambda: aside.run(work), "the end of the first")
    eventually(lambda: len(threads) == 2, "the second")
    assert threading.current_thread() not in threads
    assert all(thread.daemon for thread in threads)


def test_work_that_fails_is_logged_and_done_again(aside: Aside, clock: Clock) -> None:
    def work() -> None:
        raise RuntimeError("the database is away")

    with capture_logs() as logs:
        for count in (1, 2):
            clock.now += INTERVAL
            assert eventually(lambda: aside.run(work), "its turn")
            eventually(lambda: len(logs) == count, "its line")  # noqa: B023  # used before the next turn
    assert [line["event"] for line in logs] == ["aside_failed"] * 2
