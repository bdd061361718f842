"""How long or how dear something may be: two figures that stand for a whole distribution.

Durations and costs of tasks are never negative and now and then many times the usual, so their logarithms are taken
to be normal. Then the median (P50) and the ninth decile (P90) say everything.
"""

import math
from collections.abc import Iterable
from statistics import NormalDist, fmean
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

_Z90 = NormalDist().inv_cdf(0.9)

EXTREME = 1_000.0
"""A sample that is so many times more, or less, than was thought beforehand counts as just so many: a clock that
jumped, or a price of nought, must not decide alone."""


class Spread(BaseModel):
    """In one case of two it is at most `p50`, in nine of ten at most `p90`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50: float = Field(ge=0, allow_inf_nan=False)
    p90: float = Field(ge=0, allow_inf_nan=False)

    @classmethod
    def of(cls, median: float, sigma: float) -> Self:
        """Return the spread of this median, `sigma` being the standard deviation of the natural logarithm."""
        return cls(p50=median, p90=median * math.exp(sigma * _Z90))

    @property
    def sigma(self) -> float:
        """The standard deviation of the natural logarithm; of what is nought for certain, nought."""
        return math.log(self.p90 / self.p50) / _Z90 if self.p50 else 0.0


def learned(prior: Spread, samples: Iterable[float], *, weight: float) -> Spread:
    """Return what to expect after samples were seen, if `prior` was expected before.

    The prior counts like `weight` samples: the mean of the logarithms is drawn to the prior's by so much, and their
    variance as well (the posterior means of a normal-inverse-gamma prior). That the figures themselves are unsure is
    left out; with a weight of 5 it would widen the logarithm by a tenth at most. What is no number is no sample, and
    what is nought for certain stays so.
    """
    logs = [_log(prior.p50, each) for each in samples if math.isfinite(each)] if prior.p50 else []
    if not logs:
        return prior
    count = len(logs)
    before, seen = math.log(prior.p50), fmean(logs)
    mean = (weight * before + count * seen) / (weight + count)
    squares = (
        weight * prior.sigma**2
        + sum((each - seen) ** 2 for each in logs)
        + weight * count / (weight + count) * (seen - before) ** 2
    )
    return Spread.of(math.exp(mean), math.sqrt(squares / (weight + count)))


def _log(median: float, sample: float) -> float:
    return math.log(min(max(sample, median / EXTREME), median * EXTREME))
