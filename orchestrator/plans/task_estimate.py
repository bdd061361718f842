"""What one task of a plan may take, from what its agent's tasks took before.

An agent without a history is estimated by figures that are assumed, not measured. They count like five samples, so
after five tasks an agent's own history weighs as much as they do, and after fifty they hardly matter. `calibration`
says how good the estimates were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from orchestrator.plans.spread import Spread, learned
from settings import ModelPrice

PRIOR_SAMPLES = 5.0
"""What the assumed figures count like. Fewer, and the first odd task decides; more, and an agent is a stranger long."""

PRIOR_SECONDS = Spread(p50=15.0, p90=60.0)
"""Assumed: one or two turns of 300 to 400 tokens, at the 50 tokens a second that hosted models stream. One task in ten
uses tools for several turns and takes four times that."""

PRIOR_TOKENS = Spread(p50=3_000.0, p90=12_000.0)
"""Assumed: one or two turns that each read 1,000 to 1,500 tokens of context. It grows like the time does."""

PRIOR_INPUT_SHARE = Decimal("0.8")
"""Assumed: of those tokens, what is read; every turn reads again what came before it."""

_MILLION = 1_000_000


@dataclass(frozen=True)
class TaskSample:
    """What a task of the past took."""

    seconds: float
    """Of its own running time: waiting for a person is not in it."""
    cost_usd: Decimal | None
    """None where the model had no price."""
    tokens: int


@dataclass(frozen=True)
class TaskPrior:
    """What is expected of a task while nothing is known of its agent."""

    seconds: Spread
    tokens: Spread
    cost_usd: Spread | None
    """None where the model has no price."""


class TaskEstimate(BaseModel):
    """What a task may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: Spread
    tokens: Spread
    cost_usd: Spread | None
    """Null where the model has no price."""
    samples: int
    """How many tasks of the agent it comes from, besides the assumed figures."""


def prior_of(price: ModelPrice | None) -> TaskPrior:
    """Return the assumed figures for an agent whose model has this price."""
    cost = None
    if price is not None:
        a_million = price.input * PRIOR_INPUT_SHARE + price.output * (1 - PRIOR_INPUT_SHARE)
        a_token = float(a_million) / _MILLION
        cost = Spread(p50=PRIOR_TOKENS.p50 * a_token, p90=PRIOR_TOKENS.p90 * a_token)
    return TaskPrior(seconds=PRIOR_SECONDS, tokens=PRIOR_TOKENS, cost_usd=cost)


def estimate_task(prior: TaskPrior, samples: Sequence[TaskSample]) -> TaskEstimate:
    """Return what a task of an agent may take, from the tasks that it completed.

    Samples without a price say nothing of the cost. Where the agent's model has no price now, there is none to expect,
    whatever its tasks cost before. A model that is free now stays free.
    """
    costs = [float(sample.cost_usd) for sample in samples if sample.cost_usd is not None]
    return TaskEstimate(
        seconds=learned(prior.seconds, [sample.seconds for sample in samples], weight=PRIOR_SAMPLES),
        tokens=learned(prior.tokens, [float(sample.tokens) for sample in samples], weight=PRIOR_SAMPLES),
        cost_usd=None if prior.cost_usd is None else learned(prior.cost_usd, costs, weight=PRIOR_SAMPLES),
        samples=len(samples),
    )
