"""What is expected moves from what was assumed to what was seen, and never to nonsense."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.plans.spread import EXTREME, Spread, learned

PRIOR = Spread(p50=10, p90=40)


def test_a_spread_is_that_of_a_lognormal_variable() -> None:
    spread = Spread.of(10, 1)
    assert spread.p50 == 10
    assert spread.p90 == pytest.approx(10 * math.exp(NormalDist().inv_cdf(0.9)))
    assert spread.sigma == pytest.approx(1)


def test_what_is_nought_for_certain_has_no_spread() -> None:
    assert Spread(p50=0, p90=0).sigma == 0
    assert Spread.of(0, 3) == Spread(p50=0, p90=0)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_a_figure_is_a_number_and_not_negative(value: float) -> None:
    with pytest.raises(ValidationError):
        Spread(p50=1, p90=value)


def test_without_samples_what_was_assumed_is_expected() -> None:
    assert learned(PRIOR, [], weight=5) == PRIOR


def test_as_many_samples_as_the_prior_weighs_count_as_much_as_it() -> None:
    """Ten seconds were assumed and a thousand seen: in the middle, on the scale of logarithms, is a hundred."""
    assert learned(PRIOR, [1_000.0] * 5, weight=5).p50 == pytest.approx(100)


def test_many_samples_leave_nothing_of_what_was_assumed() -> None:
    normal = NormalDist(math.log(200), 0.5)
    samples = [math.exp(normal.inv_cdf((place + 0.5) / 2_000)) for place in range(2_000)]
    found = learned(PRIOR, samples, weight=5)
    assert found.p50 == pytest.approx(200, rel=0.02)
    assert found.sigma == pytest.approx(0.5, rel=0.05)


def test_samples_that_are_alike_make_it_surer_and_samples_that_are_not_less_sure() -> None:
    assert learned(PRIOR, [10.0] * 5, weight=5).sigma < PRIOR.sigma
    assert learned(PRIOR, [0.5, 200.0] * 5, weight=5).sigma > PRIOR.sigma
    assert learned(PRIOR, [1_000.0] * 5, weight=5).sigma > PRIOR.sigma


@pytest.mark.parametrize("odd", [0.0, -5.0, 1e12])
def test_one_odd_sample_does_not_decide(odd: float) -> None:
    found = learned(PRIOR, [10.0] * 20 + [odd], weight=5)
    assert 10 / 2 < found.p50 < 10 * 2
    assert found == learned(PRIOR, [10.0] * 20 + [10 * EXTREME if odd > 0 else 10 / EXTREME], weight=5)


def test_what_is_no_number_is_no_sample() -> None:
    assert learned(PRIOR, [math.nan, math.inf, 20.0], weight=5) == learned(PRIOR, [20.0], weight=5)
    assert learned(PRIOR, [math.nan], weight=5) == PRIOR


def test_what_is_nought_for_certain_stays_so() -> None:
    assert learned(Spread(p50=0, p90=0), [1.0, 2.0], weight=5) == Spread(p50=0, p90=0)


@given(st.lists(st.floats(0.01, 1e4), max_size=20), st.floats(0.1, 1e3), st.floats(0, 2))
@settings(max_examples=100, deadline=None)
def test_the_median_lies_between_what_was_assumed_and_what_was_seen(
    samples: list[float], median: float, sigma: float
) -> None:
    found = learned(Spread.of(median, sigma), samples, weight=5)
    within = [median, *samples]
    assert min(within) * 0.999 <= found.p50 <= max(within) * 1.001
    assert found.p50 <= found.p90 * 1.001


@given(st.lists(st.floats(0.01, 1e4), max_size=20))
@settings(max_examples=50, deadline=None)
def test_the_order_of_samples_does_not_matter(samples: list[float]) -> None:
    one, other = learned(PRIOR, samples, weight=5), learned(PRIOR, samples[::-1], weight=5)
    assert one.p50 == pytest.approx(other.p50)
    assert one.p90 == pytest.approx(other.p90)
