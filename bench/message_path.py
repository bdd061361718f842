"""What one message costs, ours beside the bare floor: `python -m bench.message_path`.

Both sides run at the same time on the same stores and are asked in turn, in rounds whose order rotates. Each figure is
the median of the rounds, each ratio the median of the rounds' own ratios, so that a noisy moment of the machine hits
both sides of a ratio or none.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import usage
from bench.client import Timing, callers, send_for, send_quota
from bench.profiling import profile
from bench.report import Table
from bench.stack import Side, Sides, with_sides
from bench.tracing import trace
from devstack.output import say

HELLO = "Hello."
SLOW = "Hello. [delay=1.0]"
CROWD = 32
SLOW_CROWD = 100
SLOW_IDEAL = 100.0
"""Messages a second: 100 callers who wait one second each."""
SLOW_WARM_UP = 3.0
IDLE_PAUSE = 0.01
WARM_UP = 5
SETTLE_SECONDS = 1.0
"""Between two sides: what one still does in the background (announcements, events for Flower) is not the other's."""
STATISTICS_SECONDS = 11.0
"""Postgres' server processes tell their statistics within 10 s."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    idle: int
    """Messages of the single caller a round."""
    crowd: int
    """Messages of the 32 callers a round."""
    slow_rounds: int
    slow_seconds: float


FULL = Size(rounds=7, idle=100, crowd=640, slow_rounds=2, slow_seconds=8.0)
QUICK = Size(rounds=3, idle=50, crowd=320, slow_rounds=1, slow_seconds=6.0)


@dataclass
class Samples:
    """One side's figures, one value a round."""

    values: dict[str, list[float]] = field(default_factory=dict)
    redis: dict[str, int] = field(default_factory=dict)
    """Commands of all crowd rounds."""
    messages: int = 0
    """Of all crowd rounds."""
    sent: int = 0
    """Of all rounds."""

    def add(self, **figures: float) -> None:
        """Add one round's figures."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)


def milliseconds(values: Sequence[float], percent: int) -> float:
    """Return a percentile of seconds in milliseconds."""
    return usage.percentile(values, percent) * 1000


async def _idle(side: Side, count: int, samples: Samples) -> None:
    async with callers(side.lines[:1]) as crowd:
        await send_quota(crowd, side.message(HELLO), WARM_UP)
        timings = await send_quota(crowd, side.message(HELLO), count, IDLE_PAUSE)
    samples.sent += WARM_UP + count
    for name in ("first", "final"):
        seconds = [getattr(timing, name) for timing in timings]
        for percent in (50, 95):
            samples.add(**{f"{name}_p{percent}": milliseconds(seconds, percent)})


async def _crowd(side: Side, sides: Sides, count: int, samples: Samples) -> None:
    async with callers(side.lines[:CROWD]) as crowd:
        await send_quota(crowd, side.message(HELLO), CROWD)
        before, commands = usage.read(side.processes), usage.redis_commands(sides.redis)
        timings = await send_quota(crowd, side.message(HELLO), count)
        used = usage.used(before, usage.read(side.processes))
        spent = usage.difference(commands, usage.redis_commands(sides.redis))
    for name, calls in spent.items():
        samples.redis[name] = samples.redis.get(name, 0) + calls
    samples.messages += count
    samples.sent += CROWD + count
    samples.add(
        cpu=used.total * 1000 / count,
        **{f"cpu_{part}": seconds * 1000 / count for part, seconds in asdict(used).items()},
        rate=count / _span(timings),
        busy_final_p50=milliseconds([timing.final for timing in timings], 50),
        busy_final_p95=milliseconds([timing.final for timing in timings], 95),
        redis_commands=sum(spent.values()) / count,
    )


def _span(timings: Sequence[Timing]) -> float:
    return max(timing.ended for timing in timings) - min(timing.ended - timing.final for timing in timings)


async def _slow(side: Side, seconds: float, samples: Samples) -> None:
    """A model that takes a second: the rate in the window behind the callers' staggered start."""
    async with callers(side.lines[:SLOW_CROWD]) as crowd:
        timings = await send_for(crowd, side.message(SLOW), SLOW_WARM_UP + seconds, spread=1.0)
    start = min(timing.ended - timing.final for timing in timings) + SLOW_WARM_UP
    counted = sum(start <= timing.ended < start + seconds for timing in timings)
    samples.sent += len(timings)
    samples.add(slow_fraction=counted / seconds / SLOW_IDEAL)


def measure(sides: Sides, size: Size) -> dict[str, Samples]:
    """Run all rounds."""
    samples = {side.name: Samples() for side in sides.all()}
    for side in sides.all():
        asyncio.run(_crowd(side, sides, CROWD * 4, Samples()))
    time.sleep(STATISTICS_SECONDS)
    commits = usage.commits(sides.database_url)
    for number in range(size.rounds):
        for side in _rotated(sides.all(), number):
            say(f"  round {number + 1} of {size.rounds}: {side.name}")
            time.sleep(SETTLE_SECONDS)
            asyncio.run(_idle(side, size.idle, samples[side.name]))
            asyncio.run(_crowd(side, sides, size.crowd, samples[side.name]))
    for number in range(size.slow_rounds):
        for side in _rotated(sides.all(), number):
            say(f"  slow model, round {number + 1} of {size.slow_rounds}: {side.name}")
            time.sleep(SETTLE_SECONDS)
            asyncio.run(_slow(side, size.slow_seconds, samples[side.name]))
    time.sleep(STATISTICS_SECONDS)
    _add_commits(sides, samples, usage.difference(commits, usage.commits(sides.database_url)))
    return samples


def _add_commits(sides: Sides, samples: dict[str, Samples], commits: dict[str, int]) -> None:
    """Share a database's commits among all messages of the sides that use it."""
    for side in sides.all():
        database = side.processes.database
        sent = sum(samples[other.name].sent for other in sides.all() if other.processes.database == database)
        samples[side.name].add(commits=commits[database] / sent)


def _rotated(sides: Sequence[Side], by: int) -> list[Side]:
    by %= len(sides)
    return [*sides[by:], *sides[:by]]


class Figure(NamedTuple):
    """A line of the table."""

    name: str
    key: str
    goal: float | None = None
    """Of the ratio; of the figure itself for a share of the ideal."""
    is_share: bool = False


FIGURES = (
    Figure("CPU a message, ms (32 callers)", "cpu", 1.6),
    Figure("  web", "cpu_web"),
    Figure("  worker", "cpu_worker"),
    Figure("  Postgres", "cpu_postgres"),
    Figure("  Redis", "cpu_redis"),
    Figure("first token idle p50, ms", "first_p50", 2.0),
    Figure("first token idle p95, ms", "first_p95"),
    Figure("final idle p50, ms", "final_p50", 2.0),
    Figure("final idle p95, ms", "final_p95"),
    Figure("messages/s, 32 callers", "rate"),
    Figure("final p50 of 32 callers, ms", "busy_final_p50"),
    Figure("final p95 of 32 callers, ms", "busy_final_p95"),
    Figure("share of ideal, 100 callers, 1 s model", "slow_fraction", 0.95, is_share=True),
    Figure("Redis commands a message", "redis_commands"),
    Figure("Postgres transactions a message", "commits"),
)


def ratio(ours: Sequence[float], floor: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return median(mine / other for mine, other in zip(ours, floor, strict=True))


def table(samples: dict[str, Samples]) -> Table:
    """Return the figures as a table."""
    ours, floor, raw = (samples[name].values for name in ("ours", "floor", "floor-raw"))
    rows = []
    for figure in FIGURES:
        key = figure.key
        ratios = ratio(ours[key], floor[key]), ratio(ours[key], raw[key])
        rows.append(
            [
                figure.name,
                *(f"{median(values[key]):.2f}" for values in (ours, floor, raw)),
                *(f"{value:.2f}" for value in ratios),
                *_judged(figure, median(ours[key]), ratios),
            ]
        )
    return Table(["a message", "ours", "floor", "floor, raw", "ours / floor", "ours / raw", "goal", ""], rows)


def _judged(figure: Figure, own: float, ratios: tuple[float, float]) -> tuple[str, str]:
    """Return the goal, and whether it is met over both floors."""
    if figure.goal is None:
        return "", ""
    if figure.is_share:
        return f">= {figure.goal}", "met" if own >= figure.goal else "MISSED"
    if max(ratios) <= figure.goal:
        return f"<= {figure.goal}", "met"
    return f"<= {figure.goal}", "met over the SDK's stream" if ratios[0] <= figure.goal else "MISSED"


def redis_by_command(samples: dict[str, Samples]) -> list[str]:
    """Return each side's Redis commands a message, the most frequent first."""
    lines = []
    for name, sample in samples.items():
        often = sorted(sample.redis.items(), key=lambda item: -item[1])
        told = ((command, calls / sample.messages) for command, calls in often)
        listed = ", ".join(f"{command} {calls:.1f}" for command, calls in told if calls >= 0.05)
        lines.append(f"Redis commands, {name}: {listed}")
    return lines


def run(size: Size, then: Callable[[dict[str, Samples]], None]) -> int:
    """Start both sides, measure, and hand the samples on; returns the exit code."""
    return with_sides(SLOW_CROWD, lambda sides: then(measure(sides, size)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    if options.profile or options.trace:
        return with_sides(SLOW_CROWD, lambda sides: _look_inside(sides, options))
    size = QUICK if options.quick else FULL

    def then(samples: dict[str, Samples]) -> None:
        print("\n".join(["", table(samples).text(), "", *redis_by_command(samples)]), flush=True)
        if options.json:
            values = {name: sample.values for name, sample in samples.items()}
            Path(options.json).write_text(json.dumps(values, indent=1))

    return run(replace(size, rounds=options.rounds or size.rounds), then)


def _look_inside(sides: Sides, options: argparse.Namespace) -> None:
    for side in (sides.ours, sides.floor_raw):
        asyncio.run(_crowd(side, sides, CROWD * 4, Samples()))
        if options.trace:
            print(f"\n{trace(sides, side)}", flush=True)
        if options.profile:
            print(f"\n{profile(side, options.profile)}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.message_path", description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="alternating rounds")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds")
    parser.add_argument("--json", metavar="FILE", help="write every round's figures")
    parser.add_argument("--profile", type=int, metavar="N", help="run N messages under py-spy instead")
    parser.add_argument("--trace", action="store_true", help="show the SQL and the Redis commands of one message")
    return parser


if __name__ == "__main__":
    sys.exit(main())
