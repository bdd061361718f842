"""What is sent when tasks of a plan end: the port between the rows, which say what follows, and who sends it.

A dependent that waits for one task is queued in the transaction of that task's end, and sent after it. A dependent that
waits for several is the body of a chord, to which each of them adds its part.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from workspace.events import TaskSkipped
from workspace.ledger import QueuedTask
from workspace.names import WorkspaceKey, arrival_id, join_id


class Join(NamedTuple):
    """A chord of a plan: a task that waits for several."""

    run_id: UUID
    dependent: str
    """Its id in the plan."""
    size: int
    """How many it waits for."""

    @property
    def id(self) -> str:
        """Its Celery group id."""
        return join_id(self.run_id, self.dependent)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One part of a chord: a task of a plan ended, for which another one waits beside others."""

    key: WorkspaceKey
    run_id: UUID
    dependency: str
    """What ended, by its id in the plan."""
    dependent: str
    """What waits for it, by its id in the plan."""
    task: QueuedTask
    """The dependent, which is sent when the last part has come."""
    index: int
    """Which of those that the dependent waits for this is, from 0."""
    size: int
    """How many they are."""

    @property
    def id(self) -> str:
        """Its Celery task id: the same whenever it is sent, so that it counts once."""
        return arrival_id(self.run_id, self.dependency, self.dependent)

    @property
    def join(self) -> Join:
        """The chord of which it is a part."""
        return Join(self.run_id, self.dependent, self.size)


class SkippedTask(NamedTuple):
    """A task of a plan that will not run."""

    id: UUID
    key: WorkspaceKey
    session_id: UUID
    run_id: UUID
    agent_id: UUID | None
    agent_name: str
    plan_task_id: str
    because_of: tuple[str, ...]
    """The tasks before it that went wrong by themselves, by their ids in the plan."""

    def event(self) -> TaskSkipped:
        """Return what its session is told."""
        return TaskSkipped(
            agent_id=self.agent_id,
            agent_name=self.agent_name,
            plan_task_id=self.plan_task_id,
            because_of=self.because_of,
        )


@dataclass(kw_only=True)
class FollowUps:
    """What follows the end of tasks; it is sent and told after the commit."""

    queued: list[QueuedTask] = field(default_factory=list)
    """Dependents that are `queued` now."""
    arrivals: list[Arrival] = field(default_factory=list)
    """Parts of chords."""
    skipped: list[SkippedTask] = field(default_factory=list)
    """What cannot run any more."""

    def add(self, other: "FollowUps") -> None:
        """Take over what follows from something else as well."""
        self.queued += other.queued
        self.arrivals += other.arrivals
        self.skipped += other.skipped


class Edges(Protocol):
    """Sends what follows. A failure is logged, and left to the sweeper."""

    def open(self, joins: Sequence[Join]) -> None:
        """Make the counters of chords, before any of their parts is sent; making one again changes nothing."""

    def send(self, follow_ups: FollowUps) -> None:
        """Send queued tasks and parts of chords; sending them again changes nothing."""

    def lost(self, joins: Sequence[Join]) -> Collection[Join]:
        """Return the chords that have no counter."""
