"""A thousand readers of one session: how late events come, and what a reader costs: `python -m bench.streams`.

Events are published as a node publishes them, at a steady pace, and every reader must get each of them exactly once and
in order. Beside ours, in the same run, the barest fan-out that a gunicorn gevent worker can be.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from uuid import UUID

import redis

from bench import procfs
from bench.client import BenchError, Line
from bench.crowd import Reader, crowd
from bench.floor.fanout import CHANNEL
from bench.report import Table
from bench.stack import Fanout, our_lines, program_pids, with_stack
from bench.usage import percentile
from devstack.output import say
from devstack.stack import Stack
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, TaskProgress
from workspace.names import WorkspaceKey

READERS = 1000
EVENTS = 20
GAP = 0.25
"""Seconds between two events."""
ROUNDS = 3
LAST_SECONDS = 1.0
"""How long the last event may take."""
GOAL_P99 = 100.0
TEXT = "A piece of text as long as a handful of tokens. "

EVENT = re.compile(rb'"text":"event (?P<number>\d+): [^"]*".*?"timestamp":"(?P<timestamp>[^"]+)"')
CHANNEL_NAME = re.compile(r"user(?P<user>[\w-]+):project(?P<project>[\w-]+):session:(?P<session>[\w-]+):events")


class Format(NamedTuple):
    """A way to read a stream."""

    name: str
    line: Line
    accept: str
    publish: Callable[[int], None]
    web: int
    """The serving process."""
    is_fresh: bool = True
    """Whether it is the first format that this process serves."""

    def request(self) -> bytes:
        """Return the bytes of the request."""
        return self.line.stream(self.accept)


@dataclass
class Result:
    """One format's figures."""

    latencies: list[list[float]] = field(default_factory=list)
    """Milliseconds, a list a round."""
    kilobytes: float = 0.0
    """Resident memory a reader on the first round, if nobody grew the process before; else 0."""

    def percentile(self, percent: int) -> float:
        """Return the median of the rounds' percentiles."""
        return median(percentile(values, percent) for values in self.latencies)

    def most(self) -> float:
        """Return the longest that any event took to any reader."""
        return max(max(values) for values in self.latencies)


def latencies(readers: Sequence[Reader], count: int, name: str) -> list[float]:
    """Return how late each event came to each reader, in milliseconds.

    Raises:
        BenchError: a reader did not get every event exactly once and in order.
    """
    late = []
    for reader in readers:
        found = list(EVENT.finditer(reader.bytes()))
        numbers = [int(event["number"]) for event in found]
        if numbers != list(range(count)):
            raise BenchError(f"{name}: a reader got the events {numbers} instead of 0 to {count - 1}")
        for event in found:
            sent = datetime.fromisoformat(event["timestamp"].decode()).timestamp()
            late.append((reader.arrival(event.end()) - sent) * 1000)
    return late


def _round(form: Format, readers: int, result: Result) -> None:
    with crowd() as audience:
        before = procfs.resident(form.web)
        audience.join(form.line, form.request(), readers)
        audience.listen_while_publishing(form.publish, EVENTS, GAP)
        audience.listen(LAST_SECONDS)
        grown = procfs.resident(form.web) - before
        late = latencies(audience.readers, EVENTS, form.name)
    if form.is_fresh and not result.latencies:
        result.kilobytes = grown / readers / 1024
    result.latencies.append(late)
    _make_leave(form)


def _make_leave(form: Format) -> None:
    """Publish until the server has noticed that the readers went: it learns that by writing to them."""
    for number in range(3):
        form.publish(EVENTS + number)
        time.sleep(0.3)


def measure(forms: Sequence[Format], readers: int, rounds: int) -> dict[str, Result]:
    """Run all rounds, each format in turn."""
    results = {form.name: Result() for form in forms}
    for form in forms:
        _round(form, 20, Result())
    for number in range(rounds):
        for form in forms:
            say(f"  round {number + 1} of {rounds}: {readers} readers, {form.name}")
            _round(form, readers, results[form.name])
    return results


def table(results: dict[str, Result], readers: int) -> Table:
    """Return the figures as a table."""
    floor = results["bare fan-out"]
    rows = []
    for name, result in results.items():
        p99 = result.percentile(99)
        own = name != "bare fan-out"
        rows.append(
            [
                name,
                f"{result.percentile(50):.1f}",
                f"{p99:.1f}",
                f"{result.most():.1f}",
                f"{p99 / floor.percentile(99):.2f}",
                f"{result.kilobytes:.1f}" if result.kilobytes else "",
                f"P99 <= {GOAL_P99:.0f}" if own else "",
                ("met" if p99 <= GOAL_P99 else "MISSED") if own else "",
            ]
        )
    head = [
        f"{readers} readers, {EVENTS} events",
        "P50 ms",
        "P99 ms",
        "max ms",
        "P99 / bare",
        "KB a reader",
        "goal",
        "",
    ]
    return Table(head, rows)


def _formats(stack: Stack, fanout: Fanout) -> list[Format]:
    client = redis.Redis.from_url(stack.facts()["REDIS_URL"])
    (line,) = our_lines(stack, 1)
    scope = _scope(client, line)
    publisher = EventPublisher(client, buffer_size=1000, buffer_ttl=300)
    web = procfs.serving(program_pids(stack)["api"])

    def publish(number: int) -> None:
        publisher.publish(scope, _event(number))

    def publish_bare(number: int) -> None:
        client.publish(CHANNEL, scope.event(_event(number)))

    bare = procfs.serving(fanout.web.pid)
    return [
        Format("ours, NDJSON", line, "application/x-ndjson", publish, web),
        Format("bare fan-out", Line(fanout.url, "", "/events"), "application/x-ndjson", publish_bare, bare),
        Format("ours, SSE", line, "text/event-stream", publish, web, is_fresh=False),
    ]


def _event(number: int) -> TaskProgress:
    return TaskProgress(text=f"event {number}: {TEXT}", offset=0, turn=1, attempt=1)


def _scope(client: redis.Redis, line: Line) -> EventScope:
    """Find out under which name our API subscribes to the session."""
    with crowd() as audience:
        audience.join(line, line.stream(), 1)
        names: Any = client.pubsub_channels("user*")
    found = [match for name in names if (match := CHANNEL_NAME.fullmatch(name.decode()))]
    ids = next(match for match in found if match["session"] in line.stream_path)
    key = WorkspaceKey(UUID(ids["user"]), UUID(ids["project"]))
    return EventScope(key=key, session_id=UUID(ids["session"]))


def run(readers: int, rounds: int, then: Callable[[dict[str, Result]], None]) -> int:
    """Start a stack and the bare fan-out, measure, and hand the results on."""

    def body(stack: Stack) -> int:
        with ExitStack() as exits:
            fanout = Fanout(stack)
            exits.callback(fanout.stop)
            fanout.start()
            then(measure(_formats(stack, fanout), readers, rounds))
        return 0

    return with_stack(body)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--readers", type=int, default=READERS, help="open streams (1000)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="alternating rounds")
    parser.add_argument("--json", metavar="FILE", help="write every round's latencies")
    options = parser.parse_args(arguments)

    def then(results: dict[str, Result]) -> None:
        print(f"\n{table(results, options.readers).text()}", flush=True)
        if options.json:
            values = {name: result.latencies for name, result in results.items()}
            Path(options.json).write_text(json.dumps(values))

    return run(options.readers, options.rounds, then)


if __name__ == "__main__":
    sys.exit(main())
