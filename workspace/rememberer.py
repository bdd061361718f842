"""Stores what was said in the memories of agents, after the reply and off its path.

One thread of a node. It is told when a task ended, and looks every few seconds for what it was not told: what another
node left behind, and what could not be stored before. Of what is due, the tasks of one agent are embedded and stored
together.

Only the host of a workspace stores, as long as its claim is sure. Should it lose the workspace in the middle, it lets
go of the memory again, and the next host stores the same once more.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

import structlog

from models import utc_now
from workspace.errors import DimensionsChanged, MemoryUnavailable, WorkerLost
from workspace.interactions import interaction
from workspace.interruptible import AskingWatch, Interrupted
from workspace.memory.agent_memories import AgentMemories
from workspace.metrics import INTERACTIONS_DUE, INTERACTIONS_DUE_AGE, INTERACTIONS_REMEMBERED
from workspace.names import WorkspaceKey
from workspace.remembering import DueTask, Remembering
from workspace.seldom import Seldom

log = structlog.get_logger(__name__)

LOOK_INTERVAL = 3.0
"""Seconds between two looks at the rows."""
GATHERING = 0.1
"""Seconds from a hint to the look: what ends at about the same time is stored together."""
BATCH = 100
"""Tasks of one look."""
WRITERS = 4
"""Agents whose interactions are stored at once: most of that time the model's server is waited for."""
LONGEST_PAUSE = 60.0
"""Seconds between two attempts while nothing can be stored; the first come sooner."""
LONGEST_DELAY = 300.0
"""Seconds until a task is tried again that failed by itself; the first times come sooner."""
CHANGED_PAUSE = 300.0
"""Seconds until an agent is looked at again whose memory was made with another embedding: its owner has to act."""
LAST_WORDS = 2.0
"""Seconds that `stop` waits for what is under way."""


@dataclass
class _Trial:
    """A task that could not be stored. It is tried alone, so that a text which cannot be embedded holds up no other."""

    failures: int = 0
    not_before: float = 0.0


class _Group(NamedTuple):
    """What is stored together: tasks of one agent."""

    key: WorkspaceKey
    agent_id: UUID | None
    tasks: Sequence[DueTask]


class Rememberer:
    """Stores what is due of the workspaces that a node hosts."""

    def __init__(
        self,
        remembering: Remembering,
        memories: AgentMemories,
        *,
        node_id: str,
        is_host: Callable[[WorkspaceKey], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what it needs.

        Args:
            is_host: whether this node hosts a workspace, and may be sure of it at this moment.
            clock: seconds that only grow.
        """
        self._remembering = remembering
        self._memories = memories
        self._node_id = node_id
        self._is_host = is_host
        self._clock = clock
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="remember")
        self._thread = threading.Thread(target=self._run, name="node-rememberer", daemon=True)
        self._trials: dict[UUID, _Trial] = {}
        self._shut: dict[UUID, float] = {}
        """Agents that are left alone until a time."""
        self._failures = 0
        """Attempts in a row that failed, whatever they were about."""
        self._paused_until = 0.0
        self._measures = Seldom(LOOK_INTERVAL, clock=clock)

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is in hand, which is broken off where it waits."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(LAST_WORDS)

    def hint(self) -> None:
        """Note that a task ended. It waits for nothing."""
        self._wanted.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.wait(LOOK_INTERVAL)
            self._stopping.wait(max(GATHERING, self._paused_until - self._clock()))
            self._wanted.clear()
            try:
                while not self._stopping.is_set() and self.look():
                    pass
                self._measure()
            except Exception:  # the border of a thread: the database is away, and the next look is soon
                log.exception("remembering_failed")
                self._stopping.wait(LOOK_INTERVAL)

    def _measure(self) -> None:
        if self._measures.ask() is None:
            return  # a query for each message would cost more than anybody learns from it
        backlog = self._remembering.backlog(self._node_id)
        INTERACTIONS_DUE.set(backlog.number)
        INTERACTIONS_DUE_AGE.set((utc_now() - backlog.oldest).total_seconds() if backlog.oldest else 0)

    # -- one look --------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Store what is due; returns whether there may be more at this moment."""
        now = self._clock()
        self._shut = {agent_id: until for agent_id, until in self._shut.items() if until > now}
        later = [task_id for task_id, trial in self._trials.items() if trial.not_before > now]
        due = self._remembering.due(self._node_id, limit=BATCH, without=later, without_agents=self._shut.keys())
        self._forget_trials(due, later)
        groups = self._groups(due)
        more = len(due) == BATCH and bool(groups)
        while groups and not self._stopping.is_set():
            # While nothing can be stored, one attempt is enough to find that out.
            width = 1 if self._failures else WRITERS
            together, groups = groups[:width], groups[width:]
            outcomes = list(self._threads.map(self._tried, together))
            failed = [group for group, error in zip(together, outcomes, strict=True) if not self._note(group, error)]
            if failed:
                return False
        return more

    def _forget_trials(self, due: Sequence[DueTask], later: Sequence[UUID]) -> None:
        """Forget what somebody else saw to meanwhile."""
        if len(due) < BATCH:
            kept = {*later, *(task.task_id for task in due)}
            self._trials = {task_id: trial for task_id, trial in self._trials.items() if task_id in kept}

    def _groups(self, due: Sequence[DueTask]) -> list[_Group]:
        """Return what is stored together, of the workspaces that are this node's, in the order of their turns.

        What failed before comes last: were it first, and for ever, it would be the only one that is tried.
        """

        def of(task: DueTask) -> tuple[str, str, str]:
            alone = str(task.task_id) if task.task_id in self._trials else ""
            return (task.key.slug, str(task.agent_id), alone)

        groups = []
        for _, tasks in groupby(sorted(due, key=of), key=of):
            together = sorted(tasks, key=lambda task: task.ended_at)
            groups.append(_Group(together[0].key, together[0].agent_id, together))
        hosted = {group.key: self._is_host(group.key) for group in groups}
        return sorted((group for group in groups if hosted[group.key]), key=self._turn)

    def _turn(self, group: _Group) -> tuple[int, datetime]:
        """Return by what groups are ordered: how often they failed, then when they ended."""
        trial = self._trials.get(group.tasks[0].task_id)
        return (trial.failures if trial else 0, group.tasks[0].ended_at)

    def _tried(self, group: _Group) -> BaseException | None:
        """See to a group; returns what kept it from that. On a thread of its own, so it notes nothing."""
        try:
            self._check(group.key)
            self._see_to(group)
        except (Exception, Interrupted) as error:  # the border of a thread
            return error
        return None

    def _note(self, group: _Group, error: BaseException | None) -> bool:
        """Note what came of a group; returns whether to go on with the others."""
        ids = {"agent_id": str(group.agent_id), "user_id": str(group.key.user_id)}
        match error:
            case None:
                self._note_success(group)
            case Interrupted():
                pass  # another node sees to it
            case DimensionsChanged(detail=detail):
                if group.agent_id is not None:
                    self._shut[group.agent_id] = self._clock() + CHANGED_PAUSE
                log.warning("memory_of_another_embedding", detail=detail, **ids)
            case MemoryUnavailable(detail=detail):
                if not self._failures:
                    log.warning("interactions_not_remembered", detail=detail, **ids)
                self._note_failure(group)
                return False
            case _:
                log.error("interactions_not_remembered", exc_info=error, **ids)
                self._note_failure(group)
                return False
        return True

    def _note_success(self, group: _Group) -> None:
        for task in group.tasks:
            self._trials.pop(task.task_id, None)
        if self._failures:
            log.info("remembering_again")
        self._failures = 0
        self._paused_until = 0.0

    def _note_failure(self, group: _Group) -> None:
        now = self._clock()
        self._failures += 1
        self._paused_until = now + min(2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        for task in group.tasks:
            trial = self._trials.setdefault(task.task_id, _Trial())
            trial.failures += 1
            trial.not_before = now + min(2.0 ** min(trial.failures - 1, 10), LONGEST_DELAY)

    # -- one group -------------------------------------------------------------------------------------------

    def _see_to(self, group: _Group) -> None:
        config = group.tasks[0].config
        if group.agent_id is None or config is None:
            # The orchestrator's own tasks never had one.
            self._mark(group, "agent_gone")
        elif not config.memory.enabled:
            self._mark(group, "off")
        else:
            self._store(group, group.agent_id)

    def _mark(self, group: _Group, outcome: str) -> None:
        marked = self._remembering.mark(group.tasks)
        INTERACTIONS_REMEMBERED.labels(outcome).inc(len(marked.tasks))

    def _store(self, group: _Group, agent_id: UUID) -> None:
        exchanges = self._remembering.exchanges(group.tasks)
        made = {
            task.task_id: interaction(task, exchanges[task.task_id])
            for task in group.tasks
            if task.task_id in exchanges
        }
        memory = self._memories.of(group.key, group.tasks[0].agent_name, agent_id)
        if made:
            memory.remember(list(made.values()), watch=AskingWatch(lambda: self._check(group.key)))
        marked = self._remembering.mark(group.tasks)
        INTERACTIONS_REMEMBERED.labels("stored").inc(len(marked.tasks))
        if not marked.agent_exists:
            memory.drop()
        elif unwanted := [made[task_id].id for task_id in made.keys() - marked.tasks]:
            # They were forgotten at this very moment, or their session was deleted.
            memory.forget(unwanted)
        if not self._is_host(group.key):
            self._memories.release(group.key)

    def _check(self, key: WorkspaceKey) -> None:
        """Break off when the workspace is no longer this node's, and when the node stops."""
        if self._stopping.is_set() or not self._is_host(key):
            raise Interrupted(WorkerLost())
