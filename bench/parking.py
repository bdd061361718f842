"""What a tool turn costs, and what it costs to wait for a person: `python -m bench.parking`.

One caller sends messages of four kinds in turns: one that needs no tool; one that reads a file; one that writes a file
under a grant; and one that writes a file and asks, whose answer comes as soon as the task is parked. The model answers
at once. The difference between the last two is parking, deciding and resuming.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from bench import usage
from bench.client import BenchError
from bench.report import Table
from bench.stack import our_processes, with_stack
from devstack import tokens
from devstack.output import say
from devstack.stack import Stack

WARM_UP = 10
FREE = '[tool=read_file {"path": "a.txt"}] [then] [say=done]'
ASKING = '[tool=write_file {"path": "%s/a.txt", "content": "hello"}] [then] [say=done]'
CASES = ("no tool", "read_file", "write_file, granted", "write_file, asked for")
GRANTED, ASKED = "granted", "asked"
READ_SECONDS = 60.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    messages: int
    """Of each case, a round."""


FULL = Size(rounds=5, messages=60)
QUICK = Size(rounds=2, messages=30)


class Timing(NamedTuple):
    """One message, in seconds."""

    final: float
    """From the POST to the last event."""
    resumed: float | None
    """From the owner's answer to the tool's result."""


@dataclass
class Samples:
    """One case's figures."""

    timings: list[Timing] = field(default_factory=list)
    cpu: float = 0.0
    """Seconds of web, worker, Postgres and Redis together."""


Found = dict[str, Samples]


class Chat:
    """A session with a stream that stays open."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.session: str = client.post("/my/chat/sessions/", json={}).raise_for_status().json()["id"]

    def send(self, text: str) -> Timing:
        """Send a message, say yes to whatever it asks, and wait for its end."""
        began = time.perf_counter()
        accepted = self._client.post(
            f"/my/chat/{self.session}/message/", json={"content": text, "target_agent": "helper"}
        ).raise_for_status()
        answered = resumed = None
        for event in self._events(accepted.json()["events_url"]):
            match event["event_type"]:
                case "approval_required":
                    approval = event["payload"]["approval_id"]
                case "task_waiting":
                    # Now it holds nothing; an answer before this would spare it the parking.
                    answered = time.perf_counter()
                    self._confirm(approval)
                case "tool_result" if answered is not None:
                    resumed = time.perf_counter() - answered
                case "run_completed":
                    return Timing(time.perf_counter() - began, resumed)
                case "run_failed" | "run_cancelled":
                    raise BenchError(f"a run ended otherwise: {event['payload']}")
        raise BenchError("a stream ended before its run")

    def _events(self, url: str) -> Iterator[dict[str, Any]]:
        with self._client.stream("GET", url) as response:
            for line in response.iter_lines():
                if line:
                    yield json.loads(line)

    def _confirm(self, approval: str, **more: Any) -> None:
        self._client.post(f"/my/approvals/{approval}/confirm/", json={"decision": "approve", **more}).raise_for_status()


def _grant(client: httpx.Client) -> None:
    """Have a yes remembered for all that is written below `granted`."""
    session = client.post("/my/chat/sessions/", json={}).raise_for_status().json()["id"]
    body = {"content": ASKING % GRANTED, "target_agent": "helper"}
    run = client.post(f"/my/chat/{session}/message/", json=body).raise_for_status().json()["run_id"]
    while not (open_ones := client.get("/my/approvals/", params={"status": "pending"}).json()["items"]):
        time.sleep(0.05)
    remember = {"scope": "project", "patterns": {"path": f"{GRANTED}/**"}}
    client.post(
        f"/my/approvals/{open_ones[0]['id']}/confirm/", json={"decision": "approve", "remember": remember}
    ).raise_for_status()
    while client.get(f"/my/runs/{run}/").raise_for_status().json()["status"] != "completed":
        time.sleep(0.05)


def measure(stack: Stack, size: Size) -> Found:
    """Run all rounds."""
    facts = stack.facts()
    processes = our_processes(stack)
    texts = dict(zip(CASES, ("[say=done]", FREE, ASKING % GRANTED, ASKING % ASKED), strict=True))
    found: Found = {case: Samples() for case in CASES}
    with httpx.Client(
        base_url=facts["API_URL"],
        headers={"Authorization": f"Bearer {tokens.sign(stack.plan.signing, 'bench-parking')}"},
        timeout=READ_SECONDS,
        trust_env=False,
    ) as client:
        client.post("/my/agents/", json={"name": "helper", "tools": ["read_file", "write_file"]}).raise_for_status()
        chat = Chat(client)
        chat.send(ASKING % "warm")
        _grant(client)
        for text in texts.values():
            for _ in range(WARM_UP):
                chat.send(text)
        for number in range(size.rounds):
            for case in CASES[number % len(CASES) :] + CASES[: number % len(CASES)]:
                say(f"  round {number + 1} of {size.rounds}: {case}")
                before = usage.read(processes)
                found[case].timings += [chat.send(texts[case]) for _ in range(size.messages)]
                found[case].cpu += usage.used(before, usage.read(processes)).total
    return found


def table(found: Found) -> Table:
    """Return the figures, with ratios to a message without tools."""
    plain = found[CASES[0]]
    rows = []
    for case, samples in found.items():
        finals = [timing.final for timing in samples.timings]
        resumed = [timing.resumed for timing in samples.timings if timing.resumed is not None]
        cpu, base = _cpu(samples), _cpu(plain)
        rows.append(
            [
                case,
                f"{usage.percentile(finals, 50) * 1000:.1f}",
                f"{usage.percentile(finals, 95) * 1000:.1f}",
                f"{cpu:.1f}",
                f"{cpu / base:.2f}",
                f"{usage.percentile(resumed, 50) * 1000:.1f}" if resumed else "",
                f"{usage.percentile(resumed, 95) * 1000:.1f}" if resumed else "",
            ]
        )
    head = ["a message with", "final p50 ms", "p95 ms", "CPU ms", "ratio", "answer to result p50 ms", "p95 ms"]
    return Table(head, rows)


def _cpu(samples: Samples) -> float:
    return samples.cpu * 1000 / len(samples.timings)


def run(size: Size, then: Callable[[Found], None]) -> int:
    """Start a stack, measure, and hand the result on."""

    def body(stack: Stack) -> int:
        then(measure(stack, size))
        return 0

    return with_stack(body, options={"APPROVAL_ASKS": "1000000"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.parking", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller rounds")
    options = parser.parse_args(arguments)
    return run(QUICK if options.quick else FULL, lambda found: print(f"\n{table(found).text()}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
