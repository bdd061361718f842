"""Telling of what moved in a plan, after it is committed: each event names the task that it speaks of."""

from collections.abc import Iterable

from workspace.event_publisher import EventPublisher
from workspace.events import EventScope
from workspace.plans.edges import SkippedTask


def tell_skipped(publisher: EventPublisher, skipped: Iterable[SkippedTask]) -> None:
    """Tell of the tasks that will not run."""
    for task in skipped:
        scope = EventScope(key=task.key, session_id=task.session_id, run_id=task.run_id, task_id=task.id)
        publisher.publish(scope, task.event())
