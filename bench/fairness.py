"""What one user notices of another's flood: `python -m bench.fairness`.

B sends messages one after another and measures the time to the first token at the client: first alone, then while A has
five hundred messages waiting for twenty agents, whose limits together are far over what one user may run at once. A
posts them at a steady pace that is well over what the cap lets through, and then all at once, which nobody could with
the usual rate limit and which shows what is left when the machine has no time to spare. The same floods show whether
that cap is kept busy: A's wall time beside the ideal.
"""

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import NamedTuple

from bench import machine, rows, witness
from bench.client import Caller, Line, Timing, callers, post_all, send_quota
from bench.model import Model
from bench.report import Table
from bench.rows import Overlap, overlap
from bench.stack import AGENT, program_pids, with_stack
from bench.tenants import several, tenant
from bench.usage import percentile
from devstack.output import say
from devstack.stack import Stack

CAP = 30
"""Tasks that one user may run at once."""
AGENTS = 20
LIMITS = (3, 4, 5)
FLOOD = 500
FLOOD_DELAY = 1.0
PACE = 60.0
"""Messages a second of the flood that comes at a steady pace: twice what the cap lets through."""
RATES = (PACE, math.inf)
FLOOD_TEXT = f"Flood. [delay={FLOOD_DELAY}]"
QUESTION = "Hello. [delay=0.3] [tokens=20] [gap=0.01]"
"""The model's first token comes after 0.15 s, its last one 0.19 s later."""
WARM_UP = 5
PAUSE = 0.02
FLOOD_SECONDS = 300.0
GOAL_RATIO = 2.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    quiet: int
    """Messages of B alone, a round."""


FULL = Size(rounds=3, quiet=60)
QUICK = Size(rounds=1, quiet=40)


class Asked(NamedTuple):
    """What was asked in one phase."""

    timings: list[Timing]
    """Of B's messages."""
    direct: list[float]
    """Seconds to the first token of the model's server, asked in the same way at the same time with nothing between."""


class Flood(NamedTuple):
    """One flood as A saw it, and what B noticed of it."""

    asked: Asked
    posting: list[Timing]
    """Those of them that were asked while A still posted."""
    wall: float
    """Seconds from the first message to the last answer."""
    running: Overlap
    over_limit: int
    """Agents that ran more than their limit, as the model's server saw it."""
    cores: machine.Share


@dataclass
class Found:
    """What all rounds found, a list item each."""

    quiet: list[Asked] = field(default_factory=list)
    floods: dict[float, list[Flood]] = field(default_factory=lambda: {rate: [] for rate in RATES})
    """By A's messages a second."""


@dataclass(frozen=True)
class Scene:
    """Both users."""

    database_url: str
    model_url: str
    asker: Line
    flood: tuple[tuple[Line, str], ...]
    """A session a message, and the agent that it goes to."""
    limits: dict[str, int]
    """A's agents, by id."""
    programs: tuple[int, ...]
    """The stack's process ids."""


async def prepare(stack: Stack) -> Scene:
    """Make both users with their agents and sessions."""
    async with tenant(stack, "bench-b") as asker:
        await asker.make("/my/agents/", {"name": AGENT, "concurrency_limit": 3})
        line = await asker.session()
    limits = {}
    lines: list[tuple[Line, str]] = []
    async with tenant(stack, "bench-a") as flooder:
        for number in range(AGENTS):
            limit = LIMITS[number % len(LIMITS)]
            made = await flooder.make("/my/agents/", {"name": f"{AGENT}-{number}", "concurrency_limit": limit})
            limits[made["id"]] = limit

    async def make(number: int) -> None:
        async with tenant(stack, "bench-a") as flooder:
            lines.append((await flooder.session(), f"{AGENT}-{number % AGENTS}"))

    await several(make, range(FLOOD))
    facts, pids = stack.facts(), tuple(program_pids(stack).values())
    return Scene(facts["DATABASE_URL"], facts["MODEL_URL"], line, tuple(lines), limits, pids)


async def _quiet(scene: Scene, count: int) -> Asked:
    async with callers([scene.asker]) as (caller,):
        await send_quota([caller], {"target_agent": AGENT, "content": QUESTION}, WARM_UP)
        left = iter(range(count))
        return await _ask(scene, caller, lambda: next(left, None) is None)


async def _flooded(scene: Scene, rate: float) -> Flood:
    """Let A flood, and B ask until A has all answers."""
    witness.reset(scene.model_url)
    before = machine.read(scene.programs)
    async with callers([scene.asker]) as (caller,):
        since = datetime.now(UTC)
        flood = asyncio.create_task(_flood(scene, rate))
        asked = await _ask(scene, caller, flood.done)
        posted = await flood
    cores = before.share(machine.read(scene.programs))
    work = rows.work_since(scene.database_url, since, list(scene.limits))
    seen = witness.most(scene.model_url)
    return Flood(
        asked=asked,
        posting=[timing for timing in asked.timings if timing.ended - timing.final < posted],
        wall=(max(each.finished for each in work) - since).total_seconds(),
        running=overlap(work, CAP),
        over_limit=sum(seen[agent] > limit for agent, limit in scene.limits.items()),
        cores=cores,
    )


async def _flood(scene: Scene, rate: float) -> float:
    """Post everything and wait for all answers; returns when all was posted, on the performance counter."""
    requests = [line.post({"target_agent": agent, "content": FLOOD_TEXT}) for line, agent in scene.flood]
    await post_all(scene.asker.address, requests, AGENTS, rate)
    posted = time.perf_counter()
    await rows.all_answered(scene.database_url, list(scene.limits), FLOOD_SECONDS)
    return posted


async def _ask(scene: Scene, caller: Caller, is_over: Callable[[], bool]) -> Asked:
    """Let B ask one question after another, and ask the model's server itself beside it."""
    request = caller.line.post({"target_agent": AGENT, "content": QUESTION})
    asked = Asked([], [])
    direct = asyncio.create_task(_ask_directly(scene, asked.direct))
    while not is_over():
        asked.timings.append(await caller.send(request))
        await asyncio.sleep(PAUSE)
    direct.cancel()
    return asked


async def _ask_directly(scene: Scene, found: list[float]) -> None:
    model = Model(scene.model_url)
    while True:
        found.append(await model.first_token(QUESTION))
        await asyncio.sleep(PAUSE)


def measure(stack: Stack, size: Size) -> Found:
    """Run all rounds: B alone, then beside each kind of flood."""
    scene = asyncio.run(prepare(stack))
    found = Found()
    say("  warming up")
    asyncio.run(_flooded(scene, math.inf))  # threads, connections and channels are there from here on
    for number in range(size.rounds):
        rows.maintain(scene.database_url)
        say(f"  round {number + 1} of {size.rounds}: B alone")
        found.quiet.append(asyncio.run(_quiet(scene, size.quiet)))
        for rate, floods in found.floods.items():
            say(f"  round {number + 1} of {size.rounds}: B beside A, {_pace(rate)}")
            floods.append(asyncio.run(_flooded(scene, rate)))
    return found


def _pace(rate: float) -> str:
    return "all at once" if math.isinf(rate) else f"{rate:.0f} a second"


Figure = Callable[[Asked], float]


def _first(percent: int) -> Figure:
    return lambda asked: percentile([timing.first for timing in asked.timings], percent) * 1000


def _accepted(percent: int) -> Figure:
    return lambda asked: percentile([timing.accepted for timing in asked.timings], percent) * 1000


def _final(percent: int) -> Figure:
    return lambda asked: percentile([timing.final for timing in asked.timings], percent) * 1000


def _direct(percent: int) -> Figure:
    return lambda asked: percentile(asked.direct, percent) * 1000


def table(found: Found) -> Table:
    """Return what B noticed; a ratio is the median of the rounds' own."""

    def row(name: str, figure: Figure, *, has_goal: bool = False) -> list[str]:
        alone = [figure(asked) for asked in found.quiet]
        cells, judged = [], []
        for floods in found.floods.values():
            beside = [figure(flood.asked) for flood in floods]
            ratio = median(busy / quiet for busy, quiet in zip(beside, alone, strict=True))
            cells += [f"{median(beside):.0f}", f"{ratio:.2f}"]
            judged.append("met" if ratio <= GOAL_RATIO else "MISSED")
        goal = [f"<= {GOAL_RATIO:.0f}", " / ".join(judged)] if has_goal else ["", ""]
        return [name, f"{median(alone):.0f}", *cells, *goal]

    def part(name: str, pick: Callable[[Flood], Sequence[Timing]]) -> list[str]:
        """One part of B's messages, of all rounds together: a round has few of them."""
        cells = []
        for floods in found.floods.values():
            seconds = [timing.first for flood in floods for timing in pick(flood)]
            cells += [f"{percentile(seconds, 95) * 1000:.0f}", ""]
        return [name, "", *cells, "", ""]

    heads = [cell for rate in found.floods for cell in (f"A: {_pace(rate)}", "ratio")]
    return Table(
        ["B's messages", "alone", *heads, "goal", ""],
        [
            row("first token p50, ms", _first(50)),
            row("first token p95, ms", _first(95), has_goal=True),
            part("  while A posts", lambda flood: flood.posting),
            part("  after that", lambda flood: flood.asked.timings[len(flood.posting) :]),
            _longest(found),
            row("POST answered p50, ms", _accepted(50)),
            row("POST answered p95, ms", _accepted(95)),
            row("final p50, ms", _final(50)),
            row("final p95, ms", _final(95)),
            row("model asked directly, first token p50, ms", _direct(50)),
            row("model asked directly, first token p95, ms", _direct(95)),
        ],
    )


def _longest(found: Found) -> list[str]:
    alone = max(timing.first for asked in found.quiet for timing in asked.timings)
    cells, judged = [], []
    for floods in found.floods.values():
        beside = max(timing.first for flood in floods for timing in flood.asked.timings)
        cells += [f"{beside * 1000:.0f}", f"{beside / alone:.2f}"]
        judged.append("met" if beside < FLOOD_DELAY else "MISSED")
    return [
        "first token, the longest, ms",
        f"{alone * 1000:.0f}",
        *cells,
        f"< {FLOOD_DELAY * 1000:.0f} ms",
        " / ".join(judged),
    ]


def cap_table(found: Found) -> Table:
    """Return how busy A kept its cap."""
    at_best = FLOOD * FLOOD_DELAY / CAP

    def row(name: str, ideal: float, figure: Callable[[Sequence[Flood]], float], digits: int = 1) -> list[str]:
        values = [figure(floods) for floods in found.floods.values()]
        cells = [cell for value in values for cell in (f"{value:.{digits}f}", f"{value / ideal:.2f}")]
        return [name, f"{ideal:.{digits}f}", *cells]

    def bound(name: str, most: int, figure: Callable[[Sequence[Flood]], float]) -> list[str]:
        values = [figure(floods) for floods in found.floods.values()]
        return [
            name,
            str(most),
            *(cell for each in values for cell in (str(each), "kept" if each <= most else "BROKEN")),
        ]

    heads = [cell for rate in found.floods for cell in (_pace(rate), "ratio")]
    return Table(
        [f"A's {FLOOD} tasks of {FLOOD_DELAY:.0f} s, cap {CAP}", "ideal", *heads],
        [
            row("wall time, s", at_best, lambda floods: median(flood.wall for flood in floods)),
            row("at work while some waited, mean", CAP, lambda floods: median(flood.running.mean for flood in floods)),
            bound("at work at once, most", CAP, lambda floods: max(flood.running.most for flood in floods)),
            bound("agents over their limit", 0, lambda floods: sum(flood.over_limit for flood in floods)),
            ["cores in use, by the bench + by others", "", *_cores(found)],
        ],
    )


def _cores(found: Found) -> list[str]:
    """Return the last round's shares."""
    return [cell for floods in found.floods.values() for cell in (str(floods[-1].cores), "")]


def run(size: Size, then: Callable[[Found], None]) -> int:
    """Start a stack, measure, and hand the result on."""

    def body(stack: Stack) -> int:
        then(measure(stack, size))
        return 0

    return with_stack(body, options={"USER_TASK_CAP": str(CAP)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    return run(size, lambda found: print(f"\n{table(found).text()}\n\n{cap_table(found).text()}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
