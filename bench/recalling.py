"""What it takes to use an agent's memory from outside: `python -m bench.recalling [--quick]`.

One caller, over HTTP: from the API to the node that hosts the workspace, to the engine in its process, and all the way
back. "Floor" is a request that reads one row, in turns with the searches, so the ratio says what a search costs beside
it. A new question is embedded by the model's server, here a stand-in that answers at once; a known one comes from the
cache.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from bench.client import BenchError
from bench.memory import KINDS, START, STEP, TEXT, Vectors
from bench.report import Table
from bench.stack import with_stack
from bench.usage import percentile
from devstack import tokens
from devstack.environment import STANDIN_EMBEDDING
from devstack.output import say
from devstack.stack import Stack
from workspace.memory.ids import memory_id
from workspace.memory.memories import Memory, Point, VectorSpace
from workspace.memory.transfer import to_line
from workspace.memory.vectors import from_bytes

QUICK: Final = (10_000,)
FULL: Final = (10_000, 100_000)

SEARCHES: Final = 200
"""Of each kind."""
WARM_UP: Final = 10
SENT_AT_ONCE: Final = 5_000
"""Memories of one import."""
READY_SECONDS: Final = 120.0
"""For the last index to be built."""
KNOWN: Final = "What does an agent remember of the first question?"

FLOOR: Final = "floor: reading a row"
FILTERS: Final[Mapping[str, Callable[[int], dict[str, Any]]]] = {
    "a new question": lambda _: {},
    "a known question": lambda _: {"query": KNOWN},
    "a known one, one type in four": lambda _: {"query": KNOWN, "interaction_type": KINDS[1].value},
    "a known one, failures, one in ten": lambda _: {"query": KNOWN, "success": False},
    "a known one, the newest hundredth": lambda size: {
        "query": KNOWN,
        "since": (START + (size - size // 100) * STEP).isoformat(),
    },
}


@dataclass
class Result:
    """One size."""

    size: int
    import_seconds: float = 0.0
    export_seconds: float = 0.0
    milliseconds: dict[str, list[float]] = field(default_factory=dict)


def measure(stack: Stack, sizes: Sequence[int]) -> list[Result]:
    """Fill an agent's memory for each size, and search in it."""
    results = []
    with httpx.Client(
        base_url=stack.facts()["API_URL"],
        headers={"Authorization": f"Bearer {tokens.sign(stack.plan.signing, 'bench-recalling')}"},
        timeout=READY_SECONDS,
        trust_env=False,
    ) as client:
        for size in sizes:
            agent = _ok(client.post("/my/agents/", json={"name": f"keeper-{size}"})).json()["id"]
            results.append(_measure(client, f"/my/agents/{agent}/", size))
            say(f"  {size:,} memories measured")
    return results


def _measure(client: httpx.Client, agent: str, size: int) -> Result:
    result, context = Result(size), f"{agent}context/"
    began = time.perf_counter()
    for first in range(0, size, SENT_AT_ONCE):
        lines = _lines(first, min(SENT_AT_ONCE, size - first))
        headers = {"Content-Type": "application/x-ndjson"}
        stored = _ok(client.post(f"{context}import/", content=lines, headers=headers)).json()["stored"]
        if stored != min(SENT_AT_ONCE, size - first):
            raise BenchError(f"{stored} memories were stored")
    result.import_seconds = time.perf_counter() - began
    _await_index(client, context)
    calls: dict[str, Callable[[int], None]] = {FLOOR: lambda _: _read(client, agent)}
    for name, of_size in FILTERS.items():
        body = of_size(size)
        calls[name] = lambda number, body=body: _search(client, context, number, body)  # type: ignore[misc]
    for name in calls:
        result.milliseconds[name] = []
    for number in range(WARM_UP + SEARCHES):
        for name, call in calls.items():
            began = time.perf_counter()
            call(number)
            if number >= WARM_UP:
                result.milliseconds[name].append((time.perf_counter() - began) * 1e3)
    began = time.perf_counter()
    with client.stream("GET", f"{context}export/") as response:
        exported = sum(1 for line in _ok(response).iter_lines() if line)
    result.export_seconds = time.perf_counter() - began
    if exported != size:
        raise BenchError(f"{exported} of {size} memories were exported")
    return result


def _lines(first: int, number: int) -> Iterator[bytes]:
    space = VectorSpace(STANDIN_EMBEDDING["EMBEDDING_MODEL"], int(STANDIN_EMBEDDING["EMBEDDING_DIMENSIONS"]))
    batch = Vectors().batch(first + 1, number)
    for row in range(number):
        yield to_line(Point(_memory(first + row), from_bytes(batch[row].tobytes())), space).encode()


def _memory(number: int) -> Memory:
    return Memory(
        id=memory_id(START + number * STEP, str(number)),
        text=f"{number} {TEXT}",
        interaction_type=KINDS[number % len(KINDS)],
        success=number % 10 != 0,
        run_id=UUID(int=number // 3),
    )


def _await_index(client: httpx.Client, context: str) -> None:
    """Wait until a search is answered: while an index is built, the memory is not."""
    until = time.monotonic() + READY_SECONDS
    while client.post(f"{context}search/", json={"query": KNOWN}).is_error:
        if time.monotonic() > until:
            raise BenchError("the memory never answered")
        time.sleep(0.5)


def _read(client: httpx.Client, agent: str) -> None:
    _ok(client.get(agent))


def _search(client: httpx.Client, context: str, number: int, body: Mapping[str, Any]) -> None:
    new = {"query": f"What of {number} and {uuid4()}?", "limit": 10, "min_score": -1}
    _ok(client.post(f"{context}search/", json=new | dict(body)))


def _ok(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        response.read()
        raise BenchError(f"{response.request.url.path} answered {response.status_code}: {response.text[:300]}")
    return response


def table(results: Sequence[Result]) -> Table:
    """Return a column for each size."""
    rows = [
        ["import, memories/s", *(f"{each.size / each.import_seconds:,.0f}" for each in results)],
        ["export, memories/s", *(f"{each.size / each.export_seconds:,.0f}" for each in results)],
    ]
    for name in results[0].milliseconds:
        rows.append([f"{name}, p50 / p95, ms", *(_times(each.milliseconds[name]) for each in results)])
        if name != FLOOR:
            rows.append(["  beside the floor, p50", *(f"{_ratio(each, name):.1f}" for each in results)])
    return Table(["", *(f"{each.size:,}" for each in results)], rows)


def _times(milliseconds: Sequence[float]) -> str:
    return f"{percentile(milliseconds, 50):.1f} / {percentile(milliseconds, 95):.1f}"


def _ratio(result: Result, name: str) -> float:
    return percentile(result.milliseconds[name], 50) / percentile(result.milliseconds[FLOOR], 50)


def run(sizes: Sequence[int], then: Callable[[list[Result]], None]) -> int:
    """Start a stack, measure, and hand the result on."""

    def body(stack: Stack) -> int:
        then(measure(stack, sizes))
        return 0

    return with_stack(body)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.recalling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 memories only")
    options = parser.parse_args(arguments)
    return run(QUICK if options.quick else FULL, lambda found: print(f"\n{table(found).text()}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
