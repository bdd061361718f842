"""What turns used adds up, and a price that is not known does not become one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace.events import Usage
from workspace.usage import NO_USAGE, over_budget, total

a_count = st.integers(0, 10**9)
a_price = st.none() | st.decimals(0, 1000, places=6)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, completion = draw(a_count), draw(a_count)
    return Usage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion, cost_usd=draw(a_price)
    )


def usage(tokens: int, cost: str | None) -> Usage:
    return Usage(prompt_tokens=tokens, total_tokens=tokens, cost_usd=None if cost is None else Decimal(cost))


def test_two_known_prices_are_added() -> None:
    assert total(usage(1, "0.1"), usage(2, "0.2")) == usage(3, "0.3")


def test_one_unknown_price_makes_that_of_both_unknown() -> None:
    assert total(usage(1, "0.1"), usage(2, None)) == usage(3, None)
    assert total(usage(1, None), usage(2, "0.1")) == usage(3, None)


def test_nothing_used_leaves_a_price_known() -> None:
    assert total(NO_USAGE, usage(2, "0.1")) == usage(2, "0.1")
    assert total(usage(2, "0.1"), NO_USAGE) == usage(2, "0.1")


def test_nothing_and_nothing_have_no_price() -> None:
    assert total(NO_USAGE, NO_USAGE).cost_usd is None


def test_a_price_of_nought_is_a_price() -> None:
    assert total(usage(0, "0"), usage(2, "0")) == usage(2, "0")


@given(usages())
def test_nothing_changes_nothing(one: Usage) -> None:
    assert total(NO_USAGE, one) == total(one, NO_USAGE) == one


@given(usages(), usages(), usages())
def test_the_order_does_not_matter(one: Usage, two: Usage, three: Usage) -> None:
    assert total(one, two) == total(two, one)
    assert total(total(one, two), three) == total(one, total(two, three))


@given(st.lists(usages(), max_size=6))
def test_the_tokens_are_those_of_all(all_of_them: list[Usage]) -> None:
    together = NO_USAGE
    for each in all_of_them:
        together = total(together, each)
    assert together.prompt_tokens == sum(each.prompt_tokens for each in all_of_them)
    assert together.total_tokens == together.prompt_tokens + together.completion_tokens


@pytest.mark.parametrize(
    ("tokens", "cost", "budget", "is_over"),
    [
        (99, None, None, False),
        (100, None, None, True),
        (99, Decimal("0.1"), Decimal("0.1"), True),
        (99, Decimal("0.09"), Decimal("0.1"), False),
        (99, None, Decimal("0.1"), False),
        (99, Decimal(9), None, False),
    ],
)
def test_a_run_is_over_its_budget_when_it_used_up_the_tokens_or_the_money(
    tokens: int, cost: Decimal | None, budget: Decimal | None, is_over: bool
) -> None:
    used = Usage(total_tokens=tokens, cost_usd=cost)
    assert (over_budget(used, tokens=100, cost=budget) is not None) is is_over
