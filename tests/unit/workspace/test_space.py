"""When an agent's queue is called almost full."""

import pytest

from workspace.space import almost_full


@pytest.mark.parametrize(("limit", "waiting"), [(1, 1), (2, 2), (4, 4), (5, 4), (6, 5), (10, 8), (35, 28), (100, 80)])
def test_a_queue_is_almost_full_from_four_fifths_on(limit: int, waiting: int) -> None:
    assert almost_full(limit) == waiting
