"""What a benchmark reads out of the rows is what they say."""

from datetime import UTC, datetime, timedelta

import pytest

from bench.rows import Work, overlap, use

START = datetime(2026, 1, 1, tzinfo=UTC)


def work(*tasks: tuple[float, float, float]) -> list[Work]:
    """Tasks as seconds of creation, start and end."""
    return [Work("agent", *(START + timedelta(seconds=each) for each in task), 1) for task in tasks]


def test_tasks_that_follow_each_other_without_a_gap_use_the_one_slot_fully() -> None:
    assert use(work((0, 0, 1), (0, 1, 2), (0, 2, 3)), 1) == (2.0, 2.0)


def test_a_slot_that_is_free_while_a_task_waits_counts_as_unused() -> None:
    assert use(work((0, 0, 1), (0, 2, 3)), 1) == (1.0, 2.0)


def test_a_slot_that_is_free_while_nothing_waits_counts_neither_way() -> None:
    assert use(work((0, 0, 1), (0, 1, 2), (5, 5, 6)), 1) == (1.0, 1.0)


def test_a_limit_of_two_has_twice_the_slots() -> None:
    assert use(work((0, 0, 2), (0, 1, 2), (0, 2, 3)), 2) == (3.0, 4.0)


def test_the_most_at_once_counts_an_end_before_a_start_of_the_same_moment() -> None:
    assert overlap(work((0, 0, 1), (0, 1, 2), (0, 2, 3)), 1).most == 1


def test_the_mean_is_that_from_the_first_full_moment_to_the_last_start() -> None:
    found = overlap(work((0, 0, 10), (0, 2, 4), (0, 6, 8)), 2)
    assert found.most == 2
    assert found.mean == pytest.approx((2 * 2 + 1 * 2) / 4)
