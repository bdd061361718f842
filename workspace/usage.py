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


def _cost(first: Usage, second: Usage) -> Decimal | None:
    known = [usage.cost_usd for usage in (first, second) if usage.total_tokens or usage.cost_usd is not None]
    costs = [cost for cost in known if cost is not None]
    return sum(costs, Decimal(0)) if known and len(costs) == len(known) else None
