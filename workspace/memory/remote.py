"""Agents' memory from a process that does not have it: each method asks the workspace's host."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from workspace.errors import InvalidInput, MemoryInUse
from workspace.memory.asking import Asking, Unanswered
from workspace.memory.calls import (
    Call,
    Clear,
    Count,
    Drop,
    Export,
    ExportedPart,
    Forget,
    ForgetWhere,
    GetStats,
    NumberedLine,
    Page,
    Prune,
    Remember,
    Restore,
    Search,
    parts,
)
from workspace.memory.door import Pruned, Restored
from workspace.memory.memories import EVERYTHING, Filter, Found, Memory, Stats
from workspace.memory.store import MOST_AT_ONCE, MemoryPage
from workspace.memory.texts import stored
from workspace.memory.transfer import LONGEST_LINE
from workspace.names import WorkspaceKey

ID_BYTES = 40
WAITS_FOR_INDEX = 30.0
"""Seconds that an import or an export which has begun waits on: while an index is built, a host does not answer."""
PAUSE = 0.5
"""Seconds between two questions then."""


class RemoteMemories:
    """The memories of all agents, each with its host. Implements `Memories`."""

    def __init__(self, asking: Asking, *, batch: int) -> None:
        """Take what it needs.

        Args:
            asking: asks.
            batch: texts of one request that have to be embedded: as many as the model's server takes at a time.
        """
        self._asking = asking
        self._batch = batch

    def of(self, key: WorkspaceKey, agent_name: str, agent_id: UUID) -> "RemoteMemory":
        """Return the memory of an agent, whether or not it has remembered anything yet."""
        return RemoteMemory(self._asking, key, agent_name, agent_id, batch=self._batch)


class RemoteMemory:
    """The memory of one agent, where the store is not. Implements `MemoryDoor`, which describes each method.

    A write that was not answered may have been carried out, and can be repeated.
    """

    def __init__(self, asking: Asking, key: WorkspaceKey, agent_name: str, agent_id: UUID, *, batch: int) -> None:
        self._asking = asking
        self._key = key
        self._agent_name = agent_name
        self._agent_id = agent_id
        self._batch = batch
        self._has_begun = False
        """Whether the host has answered a part of something longer."""

    def remember(self, memories: Sequence[Memory]) -> None:
        """See the door."""
        kept = [replace(memory, text=stored(memory.text)) for memory in memories]
        sized = ((len(memory.text.encode()), memory) for memory in kept)
        for part in parts(sized, most=self._batch):
            self._ask(Remember, memories=part)

    def search(
        self,
        query: str,
        *,
        where: Filter = EVERYTHING,
        limit: int | None = None,
        min_score: float | None = None,
        token_budget: int | None = None,
    ) -> list[Found]:
        """See the door."""
        found: list[Found] = self._ask(
            Search,
            query=stored(query),
            where=where,
            limit=limit,
            min_score=min_score,
            token_budget=token_budget,
        )
        return found

    def page(
        self, *, where: Filter = EVERYTHING, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> MemoryPage:
        """See the door."""
        items: list[Memory] = []
        while True:
            page: MemoryPage = self._ask(
                Page, where=where, limit=limit - len(items), after=after, newest_first=newest_first
            )
            items += page.items
            after = page.next_cursor
            if after is None or len(items) >= limit:
                return MemoryPage(items, after)

    def count(self, where: Filter = EVERYTHING) -> int:
        """See the door."""
        number: int = self._ask(Count, where=where)
        return number

    def stats(self) -> Stats:
        """See the door."""
        stats: Stats = self._ask(GetStats)
        return stats

    def clear(self) -> int:
        """See the door."""
        number: int = self._ask(Clear)
        return number

    def forget(self, ids: Sequence[UUID]) -> None:
        """See the door."""
        for part in parts(((ID_BYTES, id_) for id_ in ids), most=MOST_AT_ONCE):
            self._ask(Forget, ids=part)

    def forget_where(self, where: Filter) -> int:
        """See the door."""
        number: int = self._ask(ForgetWhere, where=where)
        return number

    def prune(self, *, older_than: datetime | None = None, keep: int | None = None, dry_run: bool = False) -> Pruned:
        """See the door."""
        pruned: Pruned = self._ask(Prune, older_than=older_than, keep=keep, dry_run=dry_run)
        return pruned

    def export(self) -> Iterator[str]:
        """See the door."""
        after: UUID | None = None
        while True:
            part: ExportedPart = self._ask_on(Export, after=after)
            yield from part.lines
            after = part.after
            if after is None:
                return

    def restore(self, lines: Iterable[str | bytes]) -> Restored:
        """See the door."""
        now = datetime.now(UTC)
        count = embedded = 0
        for part in parts(_numbered(lines), most=self._batch):
            restored: Restored = self._ask_on(Restore, lines=part, now=now)
            count += restored.stored
            embedded += restored.embedded
        return Restored(count, embedded)

    def drop(self) -> None:
        """See the door."""
        self._ask(Drop)

    def _ask_on(self, kind: type[Call], **arguments: Any) -> Any:
        """Ask as a part of something longer; what was asked before may have been carried out, and is repeated."""
        until = time.monotonic() + WAITS_FOR_INDEX
        while True:
            try:
                answer = self._ask(kind, **arguments)
            except (Unanswered, MemoryInUse):
                if not self._has_begun or time.monotonic() >= until:
                    raise
                time.sleep(PAUSE)
            else:
                self._has_begun = True
                return answer

    def _ask(self, kind: type[Call], **arguments: Any) -> Any:
        # What is built here was checked where it came from; the host checks what comes to it.
        call = kind.model_construct(agent_name=self._agent_name, agent_id=self._agent_id, **arguments)
        return self._asking.ask(self._key, call)


def _numbered(lines: Iterable[str | bytes]) -> Iterator[tuple[int, NumberedLine]]:
    """Yield the lines that are not empty, with their sizes.

    Raises:
        InvalidInput: a line can not be sent.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(line) > LONGEST_LINE:
            raise InvalidInput(f"Line {number}: The line is too long.")
        try:
            text = line.decode() if isinstance(line, bytes) else line
            size = len(text.encode())
        except UnicodeDecodeError as error:
            raise InvalidInput(f"Line {number}: not UTF-8 (byte {error.start})") from error
        except UnicodeEncodeError as error:
            raise InvalidInput(f"Line {number}: {error}") from error
        yield size, NumberedLine(number, text)
