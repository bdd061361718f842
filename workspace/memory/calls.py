"""What can be asked of an agent's memory from another process: one class for each method of `MemoryDoor`.

Each has the method's arguments as its fields, says of what form the answer is, and knows how to be carried out where
the memory is. All that can be large comes in parts, so that neither a request nor a reply is much above a megabyte.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from workspace.interruptible import Watch
from workspace.memory.agent_memory import AgentMemory
from workspace.memory.door import Pruned, Restored
from workspace.memory.memories import EVERYTHING, Filter, Found, Memory, Stats
from workspace.memory.store import MOST_AT_ONCE, MemoryPage
from workspace.names import AGENT_NAME

MOST_BYTES = 500_000
"""Of the texts in a request or a reply. Escapes in JSON, and base64 on the broker, may double it."""
_POINTS_AT_ONCE = 50
"""Read for an export at a time: most of such a part fits into a reply."""

STRICT = ConfigDict(strict=True, extra="forbid", frozen=True)


class Op(StrEnum):
    """What can be asked for."""

    REMEMBER = "remember"
    SEARCH = "search"
    PAGE = "page"
    COUNT = "count"
    STATS = "stats"
    CLEAR = "clear"
    FORGET = "forget"
    FORGET_WHERE = "forget_where"
    PRUNE = "prune"
    EXPORT = "export"
    RESTORE = "restore"
    DROP = "drop"


class NumberedLine(NamedTuple):
    """A line of an import."""

    number: int
    """In the whole of it, so that a mistake is told by its line."""
    line: str


class ExportedPart(NamedTuple):
    """Some lines of an export."""

    lines: list[str]
    after: UUID | None
    """Where the next part begins; none: this was the last."""


class Here(NamedTuple):
    """Where a call is carried out."""

    memory: AgentMemory
    watch: Watch
    """Ends the waiting for the model's server when nobody waits for the answer any more."""


AgentName: TypeAlias = Annotated[str, Field(pattern=f"^{AGENT_NAME.pattern}$")]


class Call(BaseModel, ABC):
    """Something to do with the memory of one agent."""

    model_config = STRICT
    op: ClassVar[Op]
    result: ClassVar[TypeAdapter[Any]] = TypeAdapter(None)
    """What the answer looks like."""

    agent_name: AgentName
    agent_id: UUID

    @abstractmethod
    def carry_out(self, here: Here) -> Any:
        """Do it."""


class Remember(Call):
    """See the door."""

    op = Op.REMEMBER
    memories: list[Memory] = Field(max_length=MOST_AT_ONCE)

    def carry_out(self, here: Here) -> None:
        """Do it."""
        here.memory.remember(self.memories, watch=here.watch)


class Search(Call):
    """See the door."""

    op = Op.SEARCH
    result = TypeAdapter(list[Found], config=STRICT)
    query: str
    where: Filter = EVERYTHING
    limit: int | None = None
    min_score: float | None = None
    token_budget: int | None = None

    def carry_out(self, here: Here) -> list[Found]:
        """Do it."""
        return here.memory.search(
            self.query,
            where=self.where,
            limit=self.limit,
            min_score=self.min_score,
            token_budget=self.token_budget,
            watch=here.watch,
        )


class Page(Call):
    """See the door; a page may be shorter than asked for although it is not the last."""

    op = Op.PAGE
    result = TypeAdapter(MemoryPage, config=STRICT)
    where: Filter = EVERYTHING
    limit: int
    after: UUID | None = None
    newest_first: bool = True

    def carry_out(self, here: Here) -> MemoryPage:
        """Do it."""
        page = here.memory.page(where=self.where, limit=self.limit, after=self.after, newest_first=self.newest_first)
        sizes = (len(each.text.encode()) for each in page.items)
        number = how_many(sizes, most=len(page.items), most_bytes=MOST_BYTES)
        return page if number == len(page.items) else MemoryPage(page.items[:number], page.items[number - 1].id)


class Count(Call):
    """See the door."""

    op = Op.COUNT
    result = TypeAdapter(int, config=STRICT)
    where: Filter = EVERYTHING

    def carry_out(self, here: Here) -> int:
        """Do it."""
        return here.memory.count(self.where)


class GetStats(Call):
    """See the door."""

    op = Op.STATS
    result = TypeAdapter(Stats)

    def carry_out(self, here: Here) -> Stats:
        """Do it."""
        return here.memory.stats()


class Clear(Call):
    """See the door."""

    op = Op.CLEAR
    result = TypeAdapter(int, config=STRICT)

    def carry_out(self, here: Here) -> int:
        """Do it."""
        return here.memory.clear()


class Forget(Call):
    """See the door."""

    op = Op.FORGET
    ids: list[UUID] = Field(max_length=MOST_AT_ONCE)

    def carry_out(self, here: Here) -> None:
        """Do it."""
        here.memory.forget(self.ids)


class ForgetWhere(Call):
    """See the door."""

    op = Op.FORGET_WHERE
    result = TypeAdapter(int, config=STRICT)
    where: Filter

    def carry_out(self, here: Here) -> int:
        """Do it."""
        return here.memory.forget_where(self.where)


class Prune(Call):
    """See the door."""

    op = Op.PRUNE
    result = TypeAdapter(Pruned, config=STRICT)
    older_than: datetime | None = None
    keep: int | None = None
    dry_run: bool = False

    def carry_out(self, here: Here) -> Pruned:
        """Do it."""
        return here.memory.prune(older_than=self.older_than, keep=self.keep, dry_run=self.dry_run)


class Export(Call):
    """A part of what the door's method yields."""

    op = Op.EXPORT
    result = TypeAdapter(ExportedPart, config=STRICT)
    after: UUID | None = None

    def carry_out(self, here: Here) -> ExportedPart:
        """Do it."""
        lines: list[str] = []
        size = 0
        for id_, line in here.memory.export_after(self.after, at_once=_POINTS_AT_ONCE):
            lines.append(line)
            size += len(line.encode())
            if size >= MOST_BYTES:
                return ExportedPart(lines, id_)
        return ExportedPart(lines, None)


class Restore(Call):
    """A part of what the door's method is given."""

    op = Op.RESTORE
    result = TypeAdapter(Restored, config=STRICT)
    lines: list[NumberedLine] = Field(max_length=MOST_AT_ONCE)
    now: AwareDatetime
    """When memories were made that do not tell: the same for all parts, and for each time that one is sent."""

    def carry_out(self, here: Here) -> Restored:
        """Do it."""
        return here.memory.restore_numbered(self.lines, now=self.now, watch=here.watch)


class Drop(Call):
    """See the door."""

    op = Op.DROP

    def carry_out(self, here: Here) -> None:
        """Do it."""
        here.memory.drop()


CALLS: dict[Op, type[Call]] = {kind.op: kind for kind in Call.__subclasses__()}


def how_many(sizes: Iterable[int], *, most: int, most_bytes: int) -> int:
    """Return how many of some things go together, one at least."""
    number = total = 0
    for size in sizes:
        total += size
        if number >= most or (number and total > most_bytes):
            break
        number += 1
    return number


def parts(things: Iterable[tuple[int, Any]], *, most: int, most_bytes: int = MOST_BYTES) -> Iterator[list[Any]]:
    """Yield things in lists that are neither too long nor too large; what is too large for any is alone.

    Args:
        things: each with its size in bytes.
        most: in a list.
        most_bytes: in a list.
    """
    part: list[Any] = []
    total = 0
    for size, thing in things:
        if part and (len(part) >= most or total + size > most_bytes):
            yield part
            part, total = [], 0
        part.append(thing)
        total += size
    if part:
        yield part
