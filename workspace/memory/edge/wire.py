"""What a node and its memory engine say to each other, over a pair of sockets that nobody else has."""

from enum import StrEnum
from typing import Any, NamedTuple

from workspace.names import Collection


class Op(StrEnum):
    """What the engine can be asked for: the methods of the port."""

    CHECK = "check"
    ENSURE = "ensure"
    UPSERT = "upsert"
    SEARCH = "search"
    PAGE = "page"
    POINTS = "points"
    OLDEST = "oldest"
    COUNT = "count"
    DELETE = "delete"
    DELETE_WHERE = "delete_where"
    SPACE = "space"
    STATS = "stats"
    DROP = "drop"
    COLLECTIONS = "collections"
    WORKSPACES = "workspaces"
    OPENED = "opened"
    RELEASE = "release"


class Request(NamedTuple):
    """One question."""

    number: int
    op: Op
    collection: Collection | None
    arguments: tuple[Any, ...]
    until: float
    """On the monotonic clock, which all processes of a machine share: after that nobody waits for the answer."""


class Outcome(StrEnum):
    """What became of a request."""

    DONE = "done"
    REFUSED = "refused"  # the arguments are wrong
    CHANGED = "changed"  # the collection was made with another embedding
    IN_USE = "in_use"  # another process has the collection open
    OVERTAKEN = "overtaken"  # the agent was deleted, and a later one of its name has the collection
    BROKEN = "broken"  # the engine or the disk failed


class Reply(NamedTuple):
    """The answer."""

    number: int
    outcome: Outcome
    value: Any
