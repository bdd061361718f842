"""What a task's run needs of whoever ends tasks: those of direct runs end otherwise than those of plans."""

from dataclasses import dataclass, field
from typing import Protocol

from models import utc_now
from workspace.approvals.closing import ClosedApproval
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, Payload
from workspace.ledger import QueuedTask, StartedTask
from workspace.plans.edges import FollowUps
from workspace.plans.ended import EndedPlan
from workspace.runner import Failed, Final


@dataclass(frozen=True, kw_only=True)
class Written:
    """The end of a task, committed."""

    events: list[Payload]
    """What its session is told of it."""
    crowded: bool
    """Whether tasks of the user may wait for the user-wide cap."""
    closed: tuple[ClosedApproval, ...] = ()
    """What was asked of the owner and is needed no more."""
    next_task: QueuedTask | None = None
    """What its session held until then, if its direct run was in the way."""
    follow_ups: FollowUps = field(default_factory=FollowUps)
    """What follows in its plan."""
    ended_plan: EndedPlan | None = None
    """The run of its plan, if that ended with it."""


class TaskEnd(Protocol):
    """Ends tasks of one kind of runs."""

    def write(self, task: StartedTask, outcome: Final | Failed) -> Written | None:
        """Write the end of a task with all that follows in the rows.

        Returns:
            What was written, or `None` if the task is no longer this node's: then nothing was.
        """

    def after(self, task: StartedTask, written: Written, *, told: bool) -> None:
        """Send what follows.

        Args:
            told: whether the events of the task went out.
        """


def scope_of(task: StartedTask) -> EventScope:
    """Return whose stream tells of a task."""
    return EventScope(key=task.key, session_id=task.session_id, run_id=task.run_id, task_id=task.id)


def seconds_of(task: StartedTask) -> float:
    """Return how long ago a task was started, in seconds."""
    return (utc_now() - task.started_at).total_seconds()


def publish(publisher: EventPublisher, task: StartedTask, written: Written, *more: Payload) -> bool:
    """Tell of the end of a task; returns whether that went out."""
    closed = [approval.event() for approval in written.closed]
    return publisher.publish(scope_of(task), *closed, *written.events, *more) is not None
