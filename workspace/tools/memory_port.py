"""The agent's own memory, as its tools reach it: whose it is, is told by the context that the server made."""

from collections.abc import Sequence

from workspace.interruptible import AskingWatch
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.agent_memory import AgentMemory
from workspace.memory.ids import memory_id
from workspace.memory.memories import Filter, Found, InteractionType, Memory, Provenance
from workspace.tools.context import CallMark, Clock, WorkspaceContext

MOST_TOKENS = 4_096
"""Of what one search answers: the longest memory there can be takes 4001."""


class OwnMemory:
    """All that a tool can do with memory: search the agent's own, and write a note into it."""

    def __init__(self, memories: AgentMemories) -> None:
        self._memories = memories

    def search(
        self, context: WorkspaceContext, query: str, *, where: Filter, limit: int, clock: Clock
    ) -> Sequence[Found]:
        """Return the memories that are most like `query`.

        Raises:
            MemoryUnavailable: it is out of reach.
            InvalidInput: there is nothing to look for.
            Interrupted: the task has to end.
        """
        watch = AskingWatch(clock.check)
        return self._of(context).search(query, where=where, limit=limit, token_budget=MOST_TOKENS, watch=watch)

    def note(self, context: WorkspaceContext, text: str, *, call: CallMark, clock: Clock) -> Memory:
        """Keep a text; under the same mark once, however often it comes.

        Raises:
            MemoryUnavailable: it is out of reach.
            InvalidInput: the text is empty.
            Interrupted: the task has to end.
        """
        memory = Memory(
            id=memory_id(call.asked_at, str(context.task_id), call.call_id),
            text=text,
            interaction_type=InteractionType.NOTE,
            session_id=context.session_id,
            run_id=context.run_id,
            task_id=context.task_id,
            provenance=Provenance.AGENT,
        )
        self._of(context).remember([memory], watch=AskingWatch(clock.check))
        return memory

    def _of(self, context: WorkspaceContext) -> AgentMemory:
        return self._memories.of(context.key, context.agent_name, context.agent_id)
