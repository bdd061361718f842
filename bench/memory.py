"""The embedded engine of agents' memory, bare: how fast it takes, indexes and finds vectors, and what that costs.

`python -m bench.memory [--quick | --full]`; a million vectors come with `--full` only and take many minutes.

The vectors are like those of texts: some hundred topics in 48 directions, with noise in all 384. What is found is
compared with every vector, so recall is exact. Searches go the whole way through the engine's process.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from bench import machine, procfs
from bench.report import Table, facts
from bench.usage import percentile
from models import new_id
from workspace.memory.edge.collection import MOST_SCANNED
from workspace.memory.edge.folders import Folders
from workspace.memory.edge.shard import Shard
from workspace.memory.edge.store import QdrantEdgeStore
from workspace.memory.ids import memory_id
from workspace.memory.memories import EVERYTHING, Filter, InteractionType, Memory, Point, VectorSpace
from workspace.memory.vectors import from_bytes
from workspace.names import Collection, WorkspaceKey

Floats = NDArray[np.float32]

QUICK: Final = (10_000,)
USUAL: Final = (10_000, 100_000)
FULL: Final = (10_000, 100_000, 1_000_000)

SPACE: Final = VectorSpace("bench", 384)
TOPICS, DIRECTIONS = 500, 48
BATCH = 500
QUERIES = 200
FOUND = 10
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
STEP: Final = timedelta(seconds=1)
KINDS: Final = tuple(InteractionType)
TEXT: Final = "What an agent remembers of one question and its answer. " * 4


@dataclass(frozen=True)
class Case:
    """A filter, and which numbers it means."""

    where: Callable[[int], Filter]
    means: Callable[[NDArray[np.int64], int], NDArray[np.bool_]]


CASES: Final = {
    "search": Case(lambda _: EVERYTHING, lambda numbers, _: numbers >= 0),
    "of one type in four": Case(
        lambda _: Filter(interaction_type=KINDS[1]), lambda numbers, _: numbers % len(KINDS) == 1
    ),
    "failures, one in ten": Case(lambda _: Filter(success=False), lambda numbers, _: numbers % 10 == 0),
    "of the newest hundredth": Case(
        lambda size: Filter(since=START + (size - size // 100) * STEP),
        lambda numbers, size: numbers >= size - size // 100,
    ),
}


@dataclass
class Search:
    """What one kind of search took, and found."""

    milliseconds: list[float] = field(default_factory=list)
    right: int = 0

    @property
    def recall(self) -> float:
        """The part of the nearest that was found."""
        return self.right / (QUERIES * FOUND)


@dataclass
class Result:
    """One size."""

    size: int
    upsert_seconds: float = 0.0
    index_seconds: list[float] = field(default_factory=list)
    index_cpu: float = 0.0
    reopen_seconds: float = 0.0
    first_milliseconds: float = 0.0
    searches: dict[str, Search] = field(default_factory=dict)
    memory: procfs.Memory | None = None
    disk: int = 0
    share: machine.Share | None = None


class Vectors:
    """The same vectors for the same seed, in batches."""

    def __init__(self) -> None:
        chance = np.random.default_rng(7)
        self._topics = chance.standard_normal((TOPICS, DIRECTIONS))
        self._directions = chance.standard_normal((DIRECTIONS, SPACE.dimensions)) / np.sqrt(DIRECTIONS)

    def batch(self, seed: int, number: int) -> Floats:
        """Return vectors of length one."""
        chance = np.random.default_rng(seed)
        of_topics = self._topics[chance.integers(0, TOPICS, number)]
        wandered = of_topics + 0.6 * chance.standard_normal((number, DIRECTIONS))
        made = wandered @ self._directions + 0.15 * chance.standard_normal((number, SPACE.dimensions))
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        vectors: Floats = (made / lengths).astype(np.float32)
        return vectors

    def batches(self, size: int) -> Iterator[tuple[int, Floats]]:
        """Yield the number of each batch's first vector, and the batch."""
        for first in range(0, size, BATCH):
            yield first, self.batch(first + 1, min(BATCH, size - first))


def memory(number: int) -> Memory:
    """Return what the vector of a number belongs to."""
    return Memory(
        id=memory_id(START + number * STEP, str(number)),
        text=f"{number} {TEXT}",
        interaction_type=KINDS[number % len(KINDS)],
        success=number % 10 != 0,
        run_id=UUID(int=number // 3),
    )


def fill(directory: Path, collection: Collection, vectors: Vectors, result: Result) -> None:
    """Make a collection, with an index whenever the engine's process would have one built."""
    folders = Folders(directory)
    folders.make(collection, SPACE)
    folder = folders.open(collection)
    assert folder is not None
    shard = Shard.open(folder.shard, SPACE.dimensions)
    left = 0  # what a build does not index is not tried again
    for first, batch in vectors.batches(result.size):
        points = [Point(memory(first + row), from_bytes(batch[row].tobytes())) for row in range(len(batch))]
        started = time.perf_counter()
        shard.upsert(points)
        result.upsert_seconds += time.perf_counter() - started
        if shard.unindexed_bytes() - left >= MOST_SCANNED:
            shard.flush()
            started, cpu = time.perf_counter(), time.process_time()
            shard.optimize()
            result.index_seconds.append(time.perf_counter() - started)
            result.index_cpu += time.process_time() - cpu
            left = shard.unindexed_bytes()
    shard.close()
    folder.unlock()


def nearest(vectors: Vectors, size: int, queries: Floats) -> dict[str, list[set[UUID]]]:
    """Return the ids of what is nearest to each query in truth, for each case."""
    scores = {name: np.full((len(queries), FOUND), -2.0, dtype=np.float32) for name in CASES}
    numbers = {name: np.zeros((len(queries), FOUND), dtype=np.int64) for name in CASES}
    for first, batch in vectors.batches(size):
        own = np.arange(first, first + len(batch))
        alike = queries @ batch.T
        for name, case in CASES.items():
            meant = np.where(case.means(own, size)[None, :], alike, np.float32(-2.0))
            all_scores = np.concatenate([scores[name], meant], axis=1)
            all_numbers = np.concatenate([numbers[name], np.broadcast_to(own, alike.shape)], axis=1)
            best = np.argpartition(-all_scores, FOUND - 1, axis=1)[:, :FOUND]
            scores[name] = np.take_along_axis(all_scores, best, axis=1)
            numbers[name] = np.take_along_axis(all_numbers, best, axis=1)
    return {name: [{memory(int(number)).id for number in row} for row in numbers[name]] for name in CASES}


def _ask(store: QdrantEdgeStore, collection: Collection, query: Floats, where: Filter) -> tuple[float, set[UUID]]:
    vector = from_bytes(query.tobytes())
    started = time.perf_counter()
    found = store.search(collection, SPACE, vector, where=where, limit=FOUND)
    return (time.perf_counter() - started) * 1e3, {hit.memory.id for hit in found}


def look(directory: Path, collection: Collection, queries: Floats, vectors: Vectors, result: Result) -> None:
    """Open the collection in a process of its own, and search in it."""
    truth = nearest(vectors, result.size, queries)
    store = QdrantEdgeStore(directory, patience=600)
    try:
        store.check()
        started = time.perf_counter()
        assert store.count(collection, EVERYTHING) == result.size
        result.reopen_seconds = time.perf_counter() - started
        result.first_milliseconds, _ = _ask(store, collection, queries[-1], EVERYTHING)
        for name, case in CASES.items():
            done = result.searches[name] = Search()
            for query, right in zip(queries, truth[name], strict=True):
                milliseconds, found = _ask(store, collection, query, case.where(result.size))
                done.milliseconds.append(milliseconds)
                done.right += len(found & right)
        result.memory = procfs.memory(store.pids[0])
        result.disk = store.stats(collection).bytes
    finally:
        store.close()


@contextmanager
def directory_of_its_own() -> Iterator[Path]:
    """Yield a directory that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="bench-memory-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def measure(size: int) -> Result:
    """Fill a collection and search in it."""
    vectors, result, collection = Vectors(), Result(size), Collection(WorkspaceKey(uuid4(), uuid4()), "bench", new_id())
    queries = vectors.batch(0, QUERIES)
    before = machine.read([os.getpid()])
    with directory_of_its_own() as directory:
        fill(directory, collection, vectors, result)
        look(directory, collection, queries, vectors, result)
    result.share = before.share(machine.read([os.getpid()]))
    return result


def run(sizes: Sequence[int], then: Callable[[list[Result]], None]) -> int:
    """Measure each size and hand over what was found."""
    results = []
    for size in sizes:
        results.append(measure(size))
        print(f"  {size:,} vectors measured", file=sys.stderr, flush=True)
    then(results)
    return 0


def table(results: Sequence[Result]) -> Table:
    """Return a column for each size."""

    def row(name: str, show: Callable[[Result], Any]) -> list[str]:
        return [name, *(str(show(result)) for result in results)]

    rows = [
        row("upserts, points/s", lambda r: f"{r.size / r.upsert_seconds:,.0f}"),
        row("builds of an index", lambda r: len(r.index_seconds)),
        row("  seconds in all, of CPU", lambda r: f"{sum(r.index_seconds):.1f}, {r.index_cpu:.1f}"),
        row("  the longest, s", lambda r: f"{max(r.index_seconds, default=0):.1f}"),
        row("reopening, s", lambda r: f"{r.reopen_seconds:.2f}"),
        row("  first search after it, ms", lambda r: f"{r.first_milliseconds:.1f}"),
    ]
    for name in CASES:
        rows.append([f"{name}, p50 / p95, ms", *(_times(result.searches[name]) for result in results)])
        rows.append(["  recall@10", *(f"{result.searches[name].recall:.3f}" for result in results)])
    rows += [
        row("engine's memory (PSS / USS), MB", lambda r: " / ".join(map(_mb, r.memory or ()))),
        row("on the disk, MB", lambda r: _mb(r.disk)),
        row("cores used: this + others", lambda r: r.share),
    ]
    return Table(["", *(f"{result.size:,}" for result in results)], rows)


def _times(done: Search) -> str:
    return f"{percentile(done.milliseconds, 50):.1f} / {percentile(done.milliseconds, 95):.1f}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--quick", action="store_const", const=QUICK, dest="sizes", help="10,000 vectors only")
    chosen.add_argument("--full", action="store_const", const=FULL, dest="sizes", help="a million as well")
    options = parser.parse_args(arguments)
    print(facts(), flush=True)
    return run(options.sizes or USUAL, lambda results: print(table(results).text()))


if __name__ == "__main__":
    sys.exit(main())
