"""Tasks are estimated by their agents' history, plans by their tasks, and both are held to what came of them."""

import math
import time
from decimal import Decimal
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plans.calibration import Calibration, Judged, calibration
from orchestrator.plans.closing import closed
from orchestrator.plans.graph import PlanGraph
from orchestrator.plans.plan_estimate import PlanEstimate, estimate_plan
from orchestrator.plans.spread import Spread
from orchestrator.plans.task_estimate import (
    PRIOR_SAMPLES,
    PRIOR_SECONDS,
    PRIOR_TOKENS,
    TaskEstimate,
    TaskSample,
    estimate_task,
    prior_of,
)
from settings import ModelPrice
from tests.unit.orchestrator.graphs import graphs

PRICE = ModelPrice(input=Decimal(1), output=Decimal(6))
FREE = ModelPrice(input=Decimal(0), output=Decimal(0))
PRIOR = prior_of(PRICE)


def sample(seconds: float, cost: str | None = "0.01", tokens: int = 1_000) -> TaskSample:
    return TaskSample(seconds=seconds, cost_usd=None if cost is None else Decimal(cost), tokens=tokens)


def estimate(seconds: float, sigma: float = 0.5, cost: float | None = 0.01) -> TaskEstimate:
    return TaskEstimate(
        seconds=Spread.of(seconds, sigma),
        tokens=Spread.of(1_000, sigma),
        cost_usd=None if cost is None else Spread.of(cost, sigma),
        samples=0,
    )


# -- a task -----------------------------------------------------------------------------------------------------------


def test_an_agent_without_a_history_is_estimated_as_assumed() -> None:
    found = estimate_task(PRIOR, [])
    assert (found.seconds, found.tokens, found.samples) == (PRIOR_SECONDS, PRIOR_TOKENS, 0)


def test_the_assumed_cost_is_that_of_the_assumed_tokens() -> None:
    """Four fifths at 1 dollar a million, one fifth at 6: two dollars a million, and there are 3,000."""
    assert PRIOR.cost_usd is not None
    assert PRIOR.cost_usd.p50 == pytest.approx(0.006)
    assert PRIOR.cost_usd.p90 == pytest.approx(0.024)


def test_after_five_tasks_the_history_weighs_as_much_as_what_was_assumed() -> None:
    assert PRIOR_SAMPLES == 5
    found = estimate_task(PRIOR, [sample(PRIOR_SECONDS.p50 * 100)] * 5)
    assert found.seconds.p50 == pytest.approx(PRIOR_SECONDS.p50 * 10)
    assert found.samples == 5


def test_duration_tokens_and_cost_are_learned_each_from_its_own() -> None:
    found = estimate_task(PRIOR, [sample(100, "0.5", 50_000)] * 500)
    assert found.seconds.p50 == pytest.approx(100, rel=0.05)
    assert found.tokens.p50 == pytest.approx(50_000, rel=0.05)
    assert found.cost_usd is not None
    assert found.cost_usd.p50 == pytest.approx(0.5, rel=0.05)


def test_samples_without_a_price_say_nothing_of_the_cost() -> None:
    found = estimate_task(PRIOR, [sample(10, None)] * 10)
    assert found.cost_usd == PRIOR.cost_usd
    assert found.samples == 10


def test_without_a_price_now_no_cost_is_expected_whatever_it_was() -> None:
    assert estimate_task(prior_of(None), [sample(10)] * 10).cost_usd is None


def test_a_model_that_is_free_stays_free() -> None:
    assert estimate_task(prior_of(FREE), [sample(10)]).cost_usd == Spread(p50=0, p90=0)


# -- a plan -----------------------------------------------------------------------------------------------------------


def test_of_one_task_the_plan_takes_what_the_task_takes() -> None:
    task = estimate(10, 1)
    found = estimate_plan(PlanGraph({"a": []}), {"a": task})
    for spread, expected in (
        (found.sequential_seconds, task.seconds),
        (found.parallel_seconds, task.seconds),
        (found.tokens, task.tokens),
        (found.cost_usd, task.cost_usd),
    ):
        assert spread is not None
        assert expected is not None
        assert spread.p50 == pytest.approx(expected.p50, rel=0.01)
        assert spread.p90 == pytest.approx(expected.p90, rel=0.01)


def test_without_any_doubt_it_is_sum_and_critical_path() -> None:
    graph = PlanGraph({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})
    found = estimate_plan(graph, {node: estimate(each, 0) for node, each in zip("abcd", (1, 5, 3, 2), strict=True)})
    assert found.sequential_seconds.p50 == pytest.approx(11)
    assert found.sequential_seconds.p90 == pytest.approx(11)
    assert found.parallel_seconds.p90 == pytest.approx(8)
    assert found.critical_path == ("a", "b", "d")
    assert found.cost_usd is not None
    assert found.cost_usd.p90 == pytest.approx(0.04)


def test_the_slowest_of_many_tasks_is_slower_than_their_median() -> None:
    """Of 20 equal tasks at once, all end within t with the 20th power of the chance of one."""
    graph = PlanGraph({f"t{number}": [] for number in range(20)})
    found = estimate_plan(graph, dict.fromkeys(graph.nodes, estimate(10, 0.5)))
    for share, seconds in ((0.5, found.parallel_seconds.p50), (0.9, found.parallel_seconds.p90)):
        exact = 10 * math.exp(0.5 * NormalDist().inv_cdf(share ** (1 / 20)))
        assert seconds == pytest.approx(exact, rel=0.06)


def test_chances_even_out_over_a_long_row() -> None:
    """The ninth decile of a sum of 20 is nearer to its median than that of one."""
    graph = PlanGraph({"t0": []} | {f"t{number}": [f"t{number - 1}"] for number in range(1, 20)})
    found = estimate_plan(graph, dict.fromkeys(graph.nodes, estimate(10, 0.5)))
    mean, variance = 10 * math.exp(0.125), 100 * math.exp(0.25) * (math.exp(0.25) - 1)
    assert found.sequential_seconds.p50 == pytest.approx(20 * mean, rel=0.03)
    assert found.sequential_seconds.p90 == pytest.approx(20 * mean + 1.2816 * math.sqrt(20 * variance), rel=0.03)
    assert found.parallel_seconds.p50 == pytest.approx(found.sequential_seconds.p50)
    assert found.parallel_seconds.p90 == pytest.approx(found.sequential_seconds.p90)


def test_one_task_of_unknown_price_makes_the_cost_of_the_plan_unknown() -> None:
    graph = PlanGraph({"a": [], "b": []})
    assert estimate_plan(graph, {"a": estimate(1), "b": estimate(1, cost=None)}).cost_usd is None


def test_a_closing_task_is_counted_where_the_graph_has_it() -> None:
    graph = closed(PlanGraph({"a": []}))
    found = estimate_plan(graph, {node: estimate(10, 0) for node in graph.nodes})
    assert found.parallel_seconds.p50 == pytest.approx(20)


def test_a_plan_without_tasks_takes_nothing() -> None:
    found = estimate_plan(PlanGraph({}), {})
    assert found.parallel_seconds == found.sequential_seconds == found.cost_usd == Spread(p50=0, p90=0)


@given(graphs(least=1), st.lists(st.floats(0.1, 100), min_size=8, max_size=8))
@settings(max_examples=15, deadline=None)
def test_in_parallel_it_takes_no_longer_than_in_a_row_and_an_estimate_is_the_same_each_time(
    graph: PlanGraph, seconds: list[float]
) -> None:
    tasks = {node: estimate(each) for node, each in zip(graph.nodes, seconds, strict=False)}
    found = estimate_plan(graph, tasks)
    assert found.parallel_seconds.p50 <= found.sequential_seconds.p50 * 1.000_001
    assert found.parallel_seconds.p90 <= found.sequential_seconds.p90 * 1.000_001
    assert found == estimate_plan(graph, tasks)
    assert PlanEstimate.model_validate_json(found.model_dump_json()) == found


def test_the_largest_plan_is_estimated_in_no_time() -> None:
    graph = PlanGraph({f"t{number}": [f"t{each}" for each in range(number)] for number in range(30)})
    begin = time.process_time()
    estimate_plan(graph, dict.fromkeys(graph.nodes, estimate(10)))
    assert time.process_time() - begin < 1


# -- afterwards -------------------------------------------------------------------------------------------------------


def test_estimates_are_compared_with_what_came_of_them() -> None:
    spread = Spread(p50=10, p90=20)
    judged = [Judged(spread, actual) for actual in (5, 10, 15, 20, 25)]
    assert calibration(judged) == Calibration(count=5, within_p50=0.4, within_p90=0.8, median_ratio=1.5)


def test_of_nothing_nothing_is_told() -> None:
    assert calibration([]) == Calibration(count=0, within_p50=None, within_p90=None, median_ratio=None)


def test_an_estimate_of_nought_has_no_ratio() -> None:
    free = Spread(p50=0, p90=0)
    assert calibration([Judged(free, 0.0)]) == Calibration(count=1, within_p50=1, within_p90=1, median_ratio=None)


def test_right_estimates_come_out_as_right() -> None:
    spread, normal = Spread.of(10, 1), NormalDist(math.log(10), 1)
    found = calibration(Judged(spread, math.exp(normal.inv_cdf((place + 0.5) / 999))) for place in range(999))
    assert found.within_p50 == pytest.approx(0.5, abs=0.01)
    assert found.within_p90 == pytest.approx(0.9, abs=0.01)
    assert found.median_ratio == pytest.approx(1)
