"""Memory on a node's own disk: it outlives its processes, belongs to one at a time, and holds up nobody else."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devstack.directory import ROOT
from models import new_id
from tests.support.memories import SPACE, memory, new_collection, point, vector
from tests.support.waiting import eventually
from workspace.errors import MemoryUnavailable
from workspace.memory.edge.collection import MOST_SCANNED
from workspace.memory.edge.folders import Folders
from workspace.memory.edge.store import QdrantEdgeStore
from workspace.memory.memories import EVERYTHING, Filter, Point, VectorSpace
from workspace.memory.vectors import BYTES_PER_DIMENSION, Vector, vector_of
from workspace.names import Collection, WorkspaceKey


@pytest.fixture
def mine() -> Collection:
    return new_collection()


@contextmanager
def opened(directory: Path, **options: Any) -> Iterator[QdrantEdgeStore]:
    store = QdrantEdgeStore(directory, **options)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[QdrantEdgeStore]:
    with opened(tmp_path) as store:
        yield store


def folder_of(directory: Path, collection: Collection) -> Path:
    return directory / str(collection.key.user_id) / str(collection.key.project_id) / collection.agent_name


def numbers(store: QdrantEdgeStore, collection: Collection) -> list[int]:
    """The numbers that the texts of all points begin with."""
    return [int(each.memory.text.split()[0]) for each in store.points(collection, limit=100_000)]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# -- it is kept -------------------------------------------------------------------------------------------------------


def test_a_restart_finds_everything(tmp_path: Path, mine: Collection) -> None:
    points = [point(n) for n in range(300)]
    with opened(tmp_path) as store:
        store.upsert(mine, SPACE, points)
        store.delete(mine, [points[7].memory.id])
    with opened(tmp_path) as store:
        assert [each.memory for each in store.points(mine, limit=999)] == [
            each.memory for n, each in enumerate(points) if n != 7
        ]
        assert store.search(mine, SPACE, points[3].vector, where=EVERYTHING, limit=1)[0].memory == points[3].memory
        assert store.space(mine) == SPACE


def test_what_was_confirmed_outlives_the_kill_of_node_and_engine(tmp_path: Path, mine: Collection) -> None:
    """Time and again, at any moment: in a write, in the making of the collection, while it is closed."""
    confirmed = -1
    chance = random.Random(7)
    for _ in range(8):
        command = [
            sys.executable,
            "-m",
            "tests.support.memory_writer",
            str(tmp_path),
            mine.name,
            str(mine.agent_id),
            str(confirmed + 1),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
            assert writer.stdout is not None
            engine = int(writer.stdout.readline())
            lines = [writer.stdout.readline() for _ in range(chance.randrange(9))]
            time.sleep(chance.uniform(0, 0.05))  # somewhere in what comes after them
            for pid in chance.sample([writer.pid, engine], k=2):
                os.kill(pid, signal.SIGKILL)
            lines += writer.stdout.readlines()
        confirmed = max([confirmed, *(int(line) for line in lines if line.endswith(b"\n"))])
        with opened(tmp_path) as store:
            found = numbers(store, mine)
        assert set(range(confirmed + 1)) <= set(found)
        assert len(found) == len(set(found)) <= confirmed + 1 + 3, "more than the one call that was not confirmed"
    assert confirmed > 30, "nothing was written"


def test_the_end_of_the_engine_costs_the_calls_under_way_and_nothing_else(
    store: QdrantEdgeStore, mine: Collection
) -> None:
    store.upsert(mine, SPACE, [point(n) for n in range(10)])
    confirmed: list[int] = []
    refused: list[MemoryUnavailable] = []

    def write() -> None:
        for number in range(100, 100_000):
            try:
                store.upsert(mine, SPACE, [point(number, text=str(number))])
            except MemoryUnavailable as error:
                refused.append(error)
                return
            confirmed.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    eventually(lambda: len(confirmed) > 20, "some writes")
    (pid,) = store.pids
    os.kill(pid, signal.SIGKILL)
    writer.join(20)
    assert len(refused) == 1
    assert "has ended" in refused[0].detail
    found = eventually(lambda: _unless_away(lambda: numbers_of_texts(store, mine)), "another engine")
    assert set(confirmed) <= set(found)
    assert store.pids != [pid]


def numbers_of_texts(store: QdrantEdgeStore, collection: Collection) -> list[int]:
    return [int(each.memory.text.removeprefix("memory ")) for each in store.points(collection, limit=100_000)]


def _unless_away(ask: Any) -> Any:
    try:
        return ask()
    except MemoryUnavailable:
        return None


def test_an_engine_that_cannot_stay_is_not_started_again_at_once(tmp_path: Path, mine: Collection) -> None:
    (tmp_path / "memory").write_text("a file where the directory should be")
    with opened(tmp_path / "memory") as store:
        for _ in range(3):
            with pytest.raises(MemoryUnavailable):
                store.count(mine, EVERYTHING)


# -- it belongs to one process ----------------------------------------------------------------------------------------


def test_what_another_node_has_open_is_unavailable_until_it_lets_go(tmp_path: Path, mine: Collection) -> None:
    other_agent = Collection(mine.key, "reviewer", new_id())
    with opened(tmp_path) as first, opened(tmp_path) as second:
        first.upsert(mine, SPACE, [point(0)])
        for act in (
            lambda: second.count(mine, EVERYTHING),
            lambda: second.upsert(mine, SPACE, [point(1)]),
            lambda: second.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1),
            lambda: second.drop(mine),
        ):
            with pytest.raises(MemoryUnavailable, match="Another process has this memory open"):
                act()
        second.upsert(other_agent, SPACE, [point(0)])
        first.release(WorkspaceKey(mine.key.user_id, mine.key.user_id))  # somebody else's
        with pytest.raises(MemoryUnavailable):
            second.count(mine, EVERYTHING)
        first.release(mine.key)
        assert second.count(mine, EVERYTHING) == 1
        with pytest.raises(MemoryUnavailable):
            first.count(mine, EVERYTHING)


def test_two_nodes_that_make_the_same_collection_make_one(tmp_path: Path, mine: Collection) -> None:
    with opened(tmp_path) as first, opened(tmp_path) as second:
        for store in (first, second):
            store.check()  # both engines run
        done: list[int] = []

        def make(store: QdrantEdgeStore, number: int) -> None:
            def write() -> bool:
                store.upsert(mine, SPACE, [point(number)])
                store.release(mine.key)
                return True

            eventually(lambda: _unless_away(write), "a first write")
            done.append(number)

        threads = [threading.Thread(target=make, args=pair) for pair in ((first, 0), (second, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(done) == [0, 1]
        assert first.oldest(mine, 5) == [memory(0).id, memory(1).id]
    assert list((tmp_path / ".new").iterdir()) == []


def test_the_engine_ends_with_its_node(tmp_path: Path, mine: Collection) -> None:
    command = [sys.executable, "-m", "tests.support.memory_writer", str(tmp_path), mine.name, str(mine.agent_id), "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
        assert writer.stdout is not None
        engine = int(writer.stdout.readline())
        writer.stdout.readline()
        writer.kill()
    eventually(lambda: not is_alive(engine), "the end of the engine")
    with opened(tmp_path) as store:
        assert store.count(mine, EVERYTHING) > 0


def test_a_closed_store_stays_closed(tmp_path: Path, mine: Collection) -> None:
    with opened(tmp_path) as store:
        store.upsert(mine, SPACE, [point(0)])
        (pid,) = store.pids
        store.close()
        store.close()
        assert not is_alive(pid)
        with pytest.raises(MemoryUnavailable, match="closed"):
            store.count(mine, EVERYTHING)


# -- nobody waits longer than they want to ----------------------------------------------------------------------------


def begin(store: QdrantEdgeStore, collection: Collection, number: int) -> None:
    """Write the first points, however long the start of the engine takes on a busy machine."""
    points = [point(n) for n in range(number)]
    eventually(lambda: _unless_away(lambda: store.upsert(collection, SPACE, points) or True), "a first write")


def test_a_hung_engine_holds_up_no_search_and_goes_on_when_it_can(tmp_path: Path, mine: Collection) -> None:
    with opened(tmp_path, patience=3) as store:
        begin(store, mine, 3)
        (pid,) = store.pids
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(MemoryUnavailable, match="in time"):
                store.search(mine, SPACE, vector(1), where=EVERYTHING, limit=1, timeout=0.2)
            assert time.monotonic() - started < 2
            with pytest.raises(MemoryUnavailable, match="in time"):
                store.count(mine, EVERYTHING)
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: _unless_away(lambda: store.count(mine, EVERYTHING)) == 3, "the engine's own answer")
        assert store.pids == [pid]
        assert store.oldest(mine, 2) == [memory(0).id, memory(1).id], "an answer of before was taken for this one"


def test_a_write_that_nobody_waits_for_any_more_is_not_done_late(tmp_path: Path, mine: Collection) -> None:
    """Else a deletion that was reported as failed could undo what was written after it."""
    with opened(tmp_path, patience=1) as store:
        begin(store, mine, 1)
        (pid,) = store.pids
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(MemoryUnavailable):
                store.delete_where(mine, EVERYTHING)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert eventually(lambda: _unless_away(lambda: store.oldest(mine, 5)), "an answer") == [memory(0).id]


def test_many_threads_can_use_it_at_once(store: QdrantEdgeStore) -> None:
    collections = [new_collection() for _ in range(3)]
    wrong: list[object] = []

    def work(worker: int) -> None:
        try:
            for turn in range(8):
                collection = collections[(worker + turn) % 3]
                made = [point(worker * 1_000 + turn * 10 + n, success=worker % 2 == 0) for n in range(3)]
                store.upsert(collection, SPACE, made)
                (hit,) = store.search(collection, SPACE, made[1].vector, where=EVERYTHING, limit=1)
                if hit.memory != made[1].memory:
                    wrong.append((hit, made[1]))
                store.delete(collection, [made[2].memory.id])
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert sum(store.count(each, EVERYTHING) for each in collections) == 6 * 8 * 2


def test_several_engines_share_the_collections(tmp_path: Path) -> None:
    collections = [new_collection() for _ in range(12)]
    with opened(tmp_path, engines=3) as store:
        for number, each in enumerate(collections):
            store.upsert(each, SPACE, [point(n) for n in range(number + 1)])
        assert len(set(store.pids)) == 3
        assert [store.count(each, EVERYTHING) for each in collections] == list(range(1, 13))
        for each in collections:
            assert store.collections(each.key) == [each]
            store.release(each.key)
        store.check()
    with opened(tmp_path, engines=1) as store:
        assert [store.count(each, EVERYTHING) for each in collections] == list(range(1, 13))


# -- indexes ----------------------------------------------------------------------------------------------------------

WIDE = VectorSpace("wide", 1024)
_SCANNED = MOST_SCANNED // (WIDE.dimensions * BYTES_PER_DIMENSION)
ALMOST, ENOUGH = _SCANNED - 30, _SCANNED + 30
"""Points that take less, and more, than may be scanned. One message holds the difference."""


def wide_vector(number: int) -> Vector:
    return vector_of(byte - 127.5 for byte in random.Random(number).randbytes(WIDE.dimensions))


def wide_points(first: int, end: int) -> list[Point]:
    return [point(n, values=wide_vector(n), success=n % 3 != 0) for n in range(first, end)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collection]:
    directory, collection = tmp_path_factory.mktemp("filled"), new_collection()
    with opened(directory) as store:
        store.upsert(collection, WIDE, wide_points(0, ALMOST))
    return directory, collection


@pytest.fixture
def large(filled: tuple[Path, Collection], tmp_path: Path) -> Collection:
    """A collection in `tmp_path` that wants an index after the next points."""
    subprocess.run(["cp", "--archive", "--sparse=always", f"{filled[0]}/.", str(tmp_path)], check=True)
    return filled[1]


def start_build(store: QdrantEdgeStore, directory: Path, collection: Collection) -> int:
    """Have an index built, and return the process that does it."""
    store.upsert(collection, WIDE, wide_points(ALMOST, ENOUGH))
    return eventually(lambda: building_pid(folder_of(directory, collection) / "shard"), "a build", every=0.005)


def building_pid(shard: Path) -> int | None:
    """The process that builds an index for a shard."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"build" in words and str(shard).encode() in words:
            return int(entry.name)
    return None


def test_an_index_is_built_beside_the_work_and_finds_what_is_there(tmp_path: Path, large: Collection) -> None:
    neighbour = new_collection()
    with opened(tmp_path, patience=120) as store:
        store.upsert(neighbour, SPACE, [point(0)])
        pid = start_build(store, tmp_path, large)
        started = time.monotonic()
        assert store.count(neighbour, EVERYTHING) == 1
        assert time.monotonic() - started < 2, "a build held up somebody else"
        with pytest.raises(MemoryUnavailable, match="in time"):
            store.search(large, WIDE, wide_vector(1), where=EVERYTHING, limit=1, timeout=0.01)
        assert store.count(large, EVERYTHING) == ENOUGH, "waited for the end of the build"
        eventually(lambda: not is_alive(pid), "the end of the build")
        for number in range(0, ENOUGH, 411):
            (hit,) = store.search(large, WIDE, wide_vector(number), where=EVERYTHING, limit=1)
            assert hit.memory == memory(number, success=number % 3 != 0)
            assert hit.score == pytest.approx(1, abs=1e-3)
            (failed,) = store.search(large, WIDE, wide_vector(number), where=Filter(success=False), limit=1)
            assert (failed.memory == hit.memory) is (number % 3 == 0)
        failures = len(range(0, ENOUGH, 3))
        assert store.delete_where(large, Filter(success=False)) == failures
        assert store.count(large, EVERYTHING) == ENOUGH - failures
        newest = [memory(n).id for n in range(ENOUGH) if n % 3 != 0][-2:]
        assert [each.id for each in store.page(large, where=EVERYTHING, limit=2).items] == newest[::-1]


def test_a_build_that_is_killed_costs_nothing_and_leaves_nothing_behind(tmp_path: Path, large: Collection) -> None:
    shard = folder_of(tmp_path, large) / "shard"
    with opened(tmp_path) as store:
        pid = start_build(store, tmp_path, large)
        eventually(lambda: list(shard.glob("temp_segments/*")), "its first files", every=0.005)
        os.kill(pid, signal.SIGKILL)
        assert store.count(large, EVERYTHING) == ENOUGH
        (hit,) = store.search(large, WIDE, wide_vector(5), where=EVERYTHING, limit=1)
        assert hit.memory.text == "memory 5"
        assert list(shard.glob("temp_segments/*")) == []


def test_a_workspace_can_be_let_go_of_and_dropped_while_an_index_is_built(tmp_path: Path, large: Collection) -> None:
    shard = folder_of(tmp_path, large) / "shard"
    with opened(tmp_path) as store, opened(tmp_path) as other:
        pid = start_build(store, tmp_path, large)
        store.release(large.key)
        assert not is_alive(pid)
        assert other.count(large, EVERYTHING) == ENOUGH
        pid = eventually(lambda: building_pid(shard), "the other one's build", every=0.005)
        other.drop(large)
        assert not is_alive(pid)
        assert not folder_of(tmp_path, large).exists()
        assert other.count(large, EVERYTHING) == 0


def test_a_build_ends_with_its_engine(tmp_path: Path, large: Collection) -> None:
    """Else it would hold the collection's lock where nobody is left to use it."""
    with opened(tmp_path) as store:
        pid = start_build(store, tmp_path, large)
        os.kill(store.pids[0], signal.SIGKILL)
        eventually(lambda: not is_alive(pid), "the end of the build")
        assert eventually(lambda: _unless_away(lambda: store.count(large, EVERYTHING)), "another engine") == ENOUGH


# -- the disk ---------------------------------------------------------------------------------------------------------


def test_nobody_else_may_look_into_it(tmp_path: Path, mine: Collection) -> None:
    (tmp_path / "memory").mkdir(mode=0o755)
    with opened(tmp_path / "memory") as store:
        store.upsert(mine, SPACE, [point(0)])
    assert (tmp_path / "memory").stat().st_mode & 0o777 == 0o700


def test_a_damaged_collection_is_unavailable_and_can_be_dropped(tmp_path: Path, mine: Collection) -> None:
    neighbour = Collection(mine.key, "neighbour", new_id())
    with opened(tmp_path) as store:
        store.upsert(mine, SPACE, [point(0)])
        store.upsert(neighbour, SPACE, [point(0)])
        store.release(mine.key)
        for name in ("about.json", "shard/edge_config.json"):
            path = folder_of(tmp_path, mine) / name
            kept = path.read_bytes()
            path.write_bytes(b'{"form')
            with pytest.raises(MemoryUnavailable, match="failed"):
                store.count(mine, EVERYTHING)
            assert store.count(neighbour, EVERYTHING) == 1
            path.write_bytes(kept)
            assert store.count(mine, EVERYTHING) == 1
            store.release(mine.key)
        (folder_of(tmp_path, mine) / "about.json").write_bytes(b'{"format": 99, "model": "m", "dimensions": 3}')
        with pytest.raises(MemoryUnavailable, match="failed"):
            store.count(mine, EVERYTHING)
        store.drop(mine)
        assert store.collections(mine.key) == [neighbour]
        store.upsert(mine, SPACE, [point(0)])


def test_what_is_dropped_leaves_nothing_on_the_disk(tmp_path: Path, mine: Collection) -> None:
    with opened(tmp_path) as store:
        store.upsert(mine, SPACE, [point(0)])
        store.drop(mine)
        assert sorted(path.name for path in tmp_path.rglob("*")) == [".new", ".trash"]


def test_what_was_left_half_done_is_tidied_up_once_it_is_old(tmp_path: Path) -> None:
    for name, age in ((".new", 7_200), (".new", 0), (".trash", 7_200)):
        path = tmp_path / name / f"{name}-{age}"
        (path / "shard").mkdir(parents=True)
        os.utime(path, (time.time() - age,) * 2)
    Folders(tmp_path).tidy()
    assert [path.name for path in tmp_path.glob(".*/*")] == [".new-0"]


def test_directories_with_nothing_in_them_are_removed_when_somebody_looks(tmp_path: Path, mine: Collection) -> None:
    empty = new_collection()
    folder_of(tmp_path, empty).parent.mkdir(parents=True)
    (tmp_path / str(new_id())).mkdir()
    kept = tmp_path / "lost+found"
    kept.mkdir()
    with opened(tmp_path) as store:
        assert store.workspaces() == []
        store.upsert(mine, SPACE, [point(0)])
        assert store.workspaces() == [mine.key]
        store.drop(mine)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".new", ".trash", kept.name]


def test_nothing_is_started_to_find_that_nobody_has_a_memory(tmp_path: Path, mine: Collection) -> None:
    with opened(tmp_path / "memory") as store:
        assert store.workspaces() == store.collections(mine.key) == []
        store.release(mine.key)
        assert store.pids == []
    assert list(tmp_path.iterdir()) == []


def test_a_collection_is_made_although_its_last_neighbour_is_removed_at_that_moment(
    tmp_path: Path, mine: Collection
) -> None:
    """Two engines of one node work in one directory."""
    neighbour = Collection(mine.key, "neighbour", new_id())
    ended = threading.Event()

    folders = Folders(tmp_path)

    def tidy_up() -> None:
        while not ended.is_set():
            folders.tidy()

    other = threading.Thread(target=tidy_up)
    other.start()
    try:
        for _ in range(40):
            folders.make(neighbour, SPACE)
            folder = folders.open(neighbour)
            assert folder is not None, "it was not put in its place"
            folders.remove(folder)
            folder.unlock()
    finally:
        ended.set()
        other.join(10)


def test_what_stands_beside_collections_is_none(tmp_path: Path, mine: Collection) -> None:
    with opened(tmp_path) as store:
        store.upsert(mine, SPACE, [point(0)])
        project = folder_of(tmp_path, mine).parent
        (project / "A.B").mkdir()
        (project / "a-file").touch()
        (project / "a-link").symlink_to(project / mine.agent_name)
        assert store.collections(mine.key) == [mine]
