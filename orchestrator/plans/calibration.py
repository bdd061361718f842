"""How good estimates were, once the actual figures are known."""

from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.plans.spread import Spread


class Judged(NamedTuple):
    """An estimate, and what came of it."""

    estimate: Spread
    actual: float


class Calibration(BaseModel):
    """What became of a number of estimates; null where there is nothing to tell it from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    within_p50: float | None = Field(description="share that was at most its P50; 0.5 is right")
    within_p90: float | None = Field(description="share that was at most its P90; 0.9 is right")
    median_ratio: float | None = Field(description="actual by P50; 1 is right, more means that it was underestimated")


def calibration(judged: Iterable[Judged]) -> Calibration:
    """Return how estimates compare with what came of them. One of nought has no ratio, and counts otherwise."""
    pairs = list(judged)
    ratios = [pair.actual / pair.estimate.p50 for pair in pairs if pair.estimate.p50]
    return Calibration(
        count=len(pairs),
        within_p50=_share([pair.actual <= pair.estimate.p50 for pair in pairs]),
        within_p90=_share([pair.actual <= pair.estimate.p90 for pair in pairs]),
        median_ratio=median(ratios) if ratios else None,
    )


def _share(those: list[bool]) -> float | None:
    return sum(those) / len(those) if those else None
