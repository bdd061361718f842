"""The memory engine: the process that has this node's collections open, and answers one request after the other.

Between requests it does what is due: lets go of collections that nobody used for a while, writes what is only in the
log to its place, and has indexes built. While an index is built, requests for that collection wait.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from workspace.errors import DimensionsChanged
from workspace.memory.edge.building import Build
from workspace.memory.edge.collection import OpenCollection
from workspace.memory.edge.folders import Folder, Folders
from workspace.memory.edge.shard import ShardBroken, ShardInUse
from workspace.memory.edge.wire import Op, Outcome, Reply, Request
from workspace.memory.memories import InteractionType, Stats, VectorSpace
from workspace.memory.ownership import Standing, standing
from workspace.names import Collection, WorkspaceKey

log = structlog.get_logger(__name__)

MOST_OPEN = 64
MOST_PINNED = 1_000_000_000
"""Bytes of memory for all open collections together; the one in use may exceed it alone."""
IDLE_FOR = 300.0
"""Seconds without a request after which a collection is closed. Opening one takes some 0.1 s."""
FLUSHED_AFTER = 60.0
"""Seconds: what a power failure may cost. The end of a process costs nothing."""
TICK = 1.0

_OF_NOTHING: Final[dict[Op, Callable[[], Any]]] = {
    Op.SEARCH: list,
    Op.PAGE: list,
    Op.POINTS: list,
    Op.OLDEST: list,
    Op.COUNT: int,
    Op.DELETE: lambda: None,
    Op.DELETE_WHERE: int,
    Op.SPACE: lambda: None,
    Op.STATS: lambda: Stats(
        vectors=0, bytes=0, success_rate=None, by_type=dict.fromkeys(InteractionType, 0), space=None
    ),
}
"""What is answered for a collection that does not exist."""


class _Overtaken(Exception):
    """The agent was deleted, and a later one of its name has the collection."""


class _Building(NamedTuple):
    """A collection that was given away for a build."""

    build: Build
    folder: Folder
    vectors: int
    waiting: deque[Request]


class Engine:
    """Serves one node, whose end of the channel closes when that node ends."""

    def __init__(self, channel: Connection, base: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._folders = Folders(base)
        self._clock = clock
        self._open: OrderedDict[str, OpenCollection] = OrderedDict()
        """By the collections' names. The one that was not used for the longest time comes first."""
        self._building: dict[str, _Building] = {}
        self._tended_at = clock()

    def run(self) -> None:
        """Serve until the other end is closed, then write everything to its place."""
        self._folders.tidy()
        while self.turn():
            pass
        self._let_go([*self._building, *self._open])

    def turn(self) -> bool:
        """Wait for a request or for something to become due, and see to it. Returns whether to go on."""
        handles = [each.build.handle for each in self._building.values()]
        ready = wait([self._channel, *handles], TICK if self._open else None)
        self._take_back()
        if self._channel in ready:
            try:
                request: Request = self._channel.recv()
            except (EOFError, OSError):
                return False
            self._answer(request)
        if self._clock() - self._tended_at >= TICK:  # however many requests there are
            self._tend()
            self._tended_at = self._clock()
        return True

    def _answer(self, request: Request) -> None:
        building = self._building.get(request.collection.name) if request.collection is not None else None
        if building is not None and request.op is not Op.DROP:
            building.waiting.append(request)
            return
        if self._clock() <= request.until:
            self._reply(request, *self._outcome(request))

    def _reply(self, request: Request, outcome: Outcome, value: Any) -> None:
        with suppress(OSError):  # nobody is there any more, which the next turn notices
            self._channel.send(Reply(request.number, outcome, value))

    def _outcome(self, request: Request) -> tuple[Outcome, Any]:
        """Carry a request out. This is the border: the engine goes on whatever becomes of one request."""
        try:
            return Outcome.DONE, self._carry_out(request)
        except DimensionsChanged as changed:
            return Outcome.CHANGED, (changed.expected, changed.got)
        except (ValueError, TypeError) as error:
            return Outcome.REFUSED, str(error)
        except ShardInUse as error:
            return Outcome.IN_USE, str(error)
        except _Overtaken:
            return Outcome.OVERTAKEN, None
        except Exception as error:
            log.exception("memory_engine_failed", op=request.op, collection=request.collection)
            if request.collection is not None:
                self._let_go([request.collection.name])  # what failed is opened anew when it is asked for again
            return Outcome.BROKEN, str(error)

    def _carry_out(self, request: Request) -> Any:
        match request.op:
            case Op.CHECK:
                return None
            case Op.COLLECTIONS:
                return [each for key in request.arguments for each in self._folders.of_workspace(key)]
            case Op.WORKSPACES:
                self._folders.tidy()
                return self._folders.workspaces()
            case Op.OPENED:
                return self._opened_now()
            case Op.RELEASE:
                return self._release(*request.arguments)
            case _:
                assert request.collection is not None
                return self._ask(request.collection, request.op, request.arguments)

    def _ask(self, collection: Collection, op: Op, arguments: tuple[Any, ...]) -> Any:
        if op is Op.DROP:
            return self._drop(collection)
        found = self._opened(collection)
        if found is None and op in (Op.ENSURE, Op.UPSERT):
            space: VectorSpace = arguments[0]
            self._folders.make(collection, space)
            found = self._opened(collection)
            if found is None:
                raise ShardInUse("it was removed at this moment")
        if found is None:
            return _OF_NOTHING[op]()
        found.used_at = self._clock()
        return getattr(found, op)(*arguments)

    def _opened(self, collection: Collection) -> OpenCollection | None:
        """Return an agent's collection, opened if it is there and was not; what an earlier agent left is removed.

        Raises:
            _Overtaken: it is a later agent's.
        """
        found = self._open.get(collection.name)
        folder = found.folder if found is not None else self._folders.open(collection)
        if folder is None:
            return None
        stands = standing(collection.agent_id, folder.collection.agent_id)
        if stands is not Standing.OWN:
            if found is None:
                folder.unlock()
            if stands is Standing.OVERTAKEN:
                raise _Overtaken
            log.info("memory_leftover_removed", collection=collection.name)
            self._drop(collection)
            return None
        if found is None:
            self._make_room()
            found = self._open[collection.name] = OpenCollection(folder, clock=self._clock)
        self._open.move_to_end(collection.name)
        return found

    def _make_room(self) -> None:
        while len(self._open) >= MOST_OPEN or sum(each.pinned() for each in self._open.values()) > MOST_PINNED:
            self._let_go([next(iter(self._open))])

    def _drop(self, collection: Collection) -> None:
        if any(name == collection.name and _is_overtaken(collection, folder) for name, folder in self._held()):
            return
        self._let_go([collection.name])
        folder = self._folders.open(collection)
        if folder is not None:
            try:
                if not _is_overtaken(collection, folder):
                    self._folders.remove(folder)
            finally:
                folder.unlock()

    def _opened_now(self) -> dict[Collection, int]:
        """Return the collections that are locked, with the number of their vectors."""
        building = {each.folder.collection: each.vectors for each in self._building.values()}
        return building | {each.folder.collection: each.vectors() for each in self._open.values()}

    def _release(self, *keys: WorkspaceKey) -> None:
        self._let_go([name for name, folder in self._held() if folder.collection.key in keys])

    def _held(self) -> list[tuple[str, Folder]]:
        """Return the folders that are locked, by the collections' names."""
        building = [(name, each.folder) for name, each in self._building.items()]
        return building + [(name, each.folder) for name, each in self._open.items()]

    def _let_go(self, names: list[str]) -> None:
        for name in names:
            self._stop_building(name)
            opened = self._open.pop(name, None)
            if opened is not None:
                try:
                    opened.close()
                except ShardBroken:
                    log.exception("memory_close_failed", collection=name)
                opened.folder.unlock()

    # What is due between requests ---------------------------------------------------------------------------------

    def _tend(self) -> None:
        """Do one thing that is due, if there is one."""
        for name, opened in list(self._open.items()):
            try:
                if self._see_to(name, opened):
                    return
            except (ShardBroken, OSError):  # the trouble of one memory is no other one's
                log.exception("memory_upkeep_failed", collection=name)
                self._let_go([name])

    def _see_to(self, name: str, opened: OpenCollection) -> bool:
        """Do what is due with a collection; returns whether anything was."""
        now = self._clock()
        if now - opened.used_at > IDLE_FOR:
            self._let_go([name])
        elif not self._building and opened.wants_index():
            self._build(name)
        elif opened.dirty_since is not None and now - opened.dirty_since > FLUSHED_AFTER:
            opened.flush()
        else:
            return False
        return True

    def _build(self, name: str) -> None:
        """Give a collection away for a build, its lock kept."""
        opened = self._open[name]
        space, vectors = opened.space(), opened.vectors()
        folder = opened.close()
        build = Build(folder.shard, space.dimensions)
        del self._open[name]
        self._building[name] = _Building(build, folder, vectors, deque())
        log.info("memory_index_begun", collection=name)

    def _take_back(self) -> None:
        """Open what was built, and answer those who waited."""
        for name, building in list(self._building.items()):
            status = building.build.result()
            if status is not None:
                log.info("memory_index_built", collection=name, status=status)
                self._end_build(name)
                self._note_built(building.folder.collection)
                for request in building.waiting:
                    self._answer(request)

    def _note_built(self, collection: Collection) -> None:
        try:
            opened = self._opened(collection)
        except (ShardInUse, ShardBroken, _Overtaken):
            log.exception("memory_open_failed", collection=collection.name)
        else:
            if opened is not None:
                opened.was_built()

    def _stop_building(self, name: str) -> None:
        building = self._building.get(name)
        if building is not None:
            building.build.stop()
            self._end_build(name)
            for request in building.waiting:
                self._reply(request, Outcome.IN_USE, "the collection was let go")

    def _end_build(self, name: str) -> None:
        building = self._building.pop(name)
        building.build.forget()
        building.folder.unlock()


def _is_overtaken(collection: Collection, folder: Folder) -> bool:
    return standing(collection.agent_id, folder.collection.agent_id) is Standing.OVERTAKEN
