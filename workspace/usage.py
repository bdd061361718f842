"""Adding up what turns of a model used."""

from decimal import Decimal
from typing import Final

from workspace.events import Usage

NO_USAGE: Final = Usage()


def total(first: Usage, second: Usage) -> Usage:
    """Return both together. Where one has tokens of an unknown price, the price of both is unknown."""
    return Usage(
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        completion_tokens=first.completion_tokens + second.completion_tokens,
        total_tokens=first.total_tokens + second.total_tokens,
        cost_usd=_cost(first, second),
    )


def over_budget(used: Usage, *, tokens: int, cost: Decimal | None) -> str | None:
    """Return what a run that may use no more has used up; `None` if it may go on.

    Args:
        used: by all of its tasks.
        tokens: that it may use.
        cost: in US dollars, that it may cost; none: no limit. Usage of an unknown price counts as free.
    """
    if used.total_tokens >= tokens:
        return f"The run used {used.total_tokens} tokens; it may use {tokens}."
    if cost is not None and (used.cost_usd or 0) >= cost:
        return f"The run cost {used.cost_usd} US dollars; it may cost {cost}."
    return None


def _cost(first: Usage, second: Usage) -> Decimal | None:
    known = [usage.cost_usd for usage in (first, second) if usage.total_tokens or usage.cost_usd is not None]
    costs = [cost for cost in known if cost is not None]
    return sum(costs, Decimal(0)) if known and len(costs) == len(known) else None
