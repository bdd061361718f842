"""Looks into an agent's memory before the first turn of a task: what is like the user's message becomes context.

Memory is a help and no condition. Whatever is wrong with it, the run goes on without, and `context_retrieved` says so.
"""

import contextvars
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple, TypeVar

import structlog

from settings import Settings
from workspace.agent_config import AgentConfig
from workspace.errors import MemoryUnavailable
from workspace.event_publisher import EventPublisher
from workspace.events import ContextRetrieved, ContextStatus, EventScope, RetrievedMemory
from workspace.history import PastMessage
from workspace.interruptible import LONGEST_SLICE, Watch
from workspace.ledger import StartedTask
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.memories import Found, Memory
from workspace.memory.store import MOST_AT_ONCE
from workspace.memory.texts import fitting
from workspace.metrics import MEMORY_RECALL_SECONDS, MEMORY_RECALLS
from workspace.recollection import is_shown, of_row, query_of

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


class _Look(NamedTuple):
    """What came of it."""

    status: ContextStatus
    found: Sequence[Found] = ()
    detail: str | None = None


class Recall:
    """Finds what an agent remembers of what it is asked. Safe to share between threads."""

    def __init__(self, memories: AgentMemories, publisher: EventPublisher, settings: Settings) -> None:
        self._memories = memories
        self._publisher = publisher
        self._settings = settings
        # A store that hangs keeps the thread that asks it for as long as a search may take; the run's own waits beside
        # it, and hears of a stop.
        self._threads = ThreadPoolExecutor(settings.node_slots, thread_name_prefix="recall")

    def of(
        self, task: StartedTask, config: AgentConfig, conversation: Sequence[PastMessage], watch: Watch
    ) -> Sequence[Memory]:
        """Return the memories that the model is shown, and tell of them; nothing that goes wrong is raised.

        A task that has turns already shows what they were made with.

        Args:
            conversation: what the model is shown of the session, oldest first.
            watch: of the task.

        Raises:
            Interrupted: the task has to end.
        """
        if task.recalled is not None:
            return of_row(task.recalled)
        if not config.memory.enabled:
            return ()
        began = time.monotonic()
        look = self._look(task, config, conversation, watch)
        seconds = time.monotonic() - began
        MEMORY_RECALLS.labels(look.status.value).inc()
        MEMORY_RECALL_SECONDS.observe(seconds)
        self._tell(task, look, seconds)
        return [each.memory for each in look.found]

    def _look(self, task: StartedTask, config: AgentConfig, conversation: Sequence[PastMessage], watch: Watch) -> _Look:
        try:
            found = self._watched(lambda: self._search(task, config, conversation, watch), watch)
        except MemoryUnavailable as error:
            log.warning("memory_not_recalled", task_id=str(task.id), detail=error.detail)
            return _Look(ContextStatus.UNAVAILABLE, detail=error.detail)
        except Exception:  # a help that fails is no reason to fail the run
            log.exception("recall_crashed", task_id=str(task.id))
            return _Look(ContextStatus.UNAVAILABLE, detail=MemoryUnavailable().detail)
        return _Look(ContextStatus.OK if found else ContextStatus.EMPTY, found)

    def _search(
        self, task: StartedTask, config: AgentConfig, conversation: Sequence[PastMessage], watch: Watch
    ) -> Sequence[Found]:
        query = query_of(conversation)
        if not query:
            return ()
        runs = {message.run_id for message in conversation}
        wanted = config.memory.top_k or self._settings.memory_top_k
        memory = self._memories.of(task.key, task.agent_name, task.agent_id)
        found = memory.search(
            query,
            # Of these the ones that the conversation has anyway are left out, and what they would take counts for none.
            limit=min(wanted + len(runs), MOST_AT_ONCE),
            min_score=config.memory.min_score,
            token_budget=sys.maxsize,
            watch=watch,
        )
        new = [each for each in found if not is_shown(each.memory, task.session_id, runs)]
        return fitting(new[:wanted], self._settings.memory_token_budget)

    def _watched(self, call: Callable[[], Result], watch: Watch) -> Result:
        """Return what a call returns, or end as soon as the task has to."""
        context = contextvars.copy_context()
        answer = self._threads.submit(context.run, call)
        while not answer.done():
            watch.check()
            wait([answer], LONGEST_SLICE)
        return answer.result()

    def _tell(self, task: StartedTask, look: _Look, seconds: float) -> None:
        items = tuple(
            RetrievedMemory(
                id=each.memory.id,
                score=round(each.score, 4),
                interaction_type=each.memory.interaction_type,
                created_at=each.memory.created_at,
            )
            for each in look.found
        )
        scope = EventScope(key=task.key, session_id=task.session_id, run_id=task.run_id, task_id=task.id)
        self._publisher.publish(
            scope,
            ContextRetrieved(
                agent_id=task.agent_id,
                agent_name=task.agent_name,
                items=items,
                status=look.status,
                detail=look.detail,
                duration=round(seconds, 4),
            ),
        )
