"""The edges of plans as Celery chords: the only place where Celery's canvas is used, and that by its smallest part.

No canvas is built of a plan: nested ones run tasks twice and too early in Celery 5.7. A task that waits for several is
the body of one flat chord, whose counter is made when the plan is launched; each task that it waits for adds its part
when it ends, a message to `arrive`, which does nothing. The worker that counts the last one sends the body. Whatever of
it is lost, or comes twice, the rows decide what starts.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any
from uuid import UUID

import structlog
from celery.canvas import Signature

from workspace.agent_bus import AgentBus, agent_queue
from workspace.ledger import QueuedTask
from workspace.names import QueueName, TaskName, WorkspaceKey
from workspace.plans.edges import Arrival, FollowUps, Join

log = structlog.get_logger(__name__)


class Chords:
    """Sends what follows the end of tasks of a plan. Implements `workspace.plans.edges.Edges`."""

    def __init__(self, app: Any, bus: AgentBus, *, needed: Callable[[WorkspaceKey, UUID], object]) -> None:
        """Take what it needs.

        Args:
            app: the Celery app, whose result backend counts.
            bus: sends.
            needed: sees that the host of a workspace consumes an agent's queue; the orchestrator's has the id of its
                project.
        """
        self._app = app
        self._bus = bus
        self._needed = needed

    def open(self, joins: Sequence[Join]) -> None:
        """Make the counters of chords, before any of their parts is sent; making one again changes nothing."""
        for join in joins:
            try:
                self._app.backend.set_chord_size(join.id, join.size)
            except Exception as error:  # the backend's client raises whatever its transport does
                log.warning("chords_not_opened", run_id=str(join.run_id), error=repr(error))
                return  # the others would only wait for it, too; the sweeper opens them

    def send(self, follow_ups: FollowUps) -> None:
        """Send queued tasks and parts of chords; sending them again changes nothing."""
        for task in follow_ups.queued:
            self._bus.send_task_to_agent(task.key, task.agent_name, task.id)
        for arrival in follow_ups.arrivals:
            self._bus.send(
                TaskName.ARRIVE,
                [],
                agent_queue(QueueName.CONTROL),
                task_id=arrival.id,
                group_id=arrival.join.id,
                group_index=arrival.index,
                chord=_body(arrival.task),
            )
        # The body of a chord comes without anybody who could ask for a consumer of its queue.
        for key, agent_id in _agents(follow_ups.queued, follow_ups.arrivals):
            self._needed(key, agent_id)

    def lost(self, joins: Sequence[Join]) -> Collection[Join]:
        """Return the chords that have no counter."""
        if not joins:
            return ()
        backend = self._app.backend
        with backend.client.pipeline(transaction=False) as commands:
            for join in joins:
                commands.exists(backend.get_key_for_group(join.id, ".s"))
            return [join for join, is_there in zip(joins, commands.execute(), strict=True) if not is_there]


def _body(task: QueuedTask) -> Signature:
    """Return what the last part of a chord sends: `tasks.plan_routes` leads it to its agent's queue."""
    return Signature(
        TaskName.RUN_AGENT_TASK.value,
        args=(str(task.id),),
        immutable=True,
        options={"exchange": "", "routing_key": task.key.agent_queue(task.agent_name), "mandatory": True},
    )


def _agents(queued: Sequence[QueuedTask], arrivals: Sequence[Arrival]) -> set[tuple[WorkspaceKey, UUID]]:
    tasks = [*queued, *(arrival.task for arrival in arrivals)]
    return {(task.key, task.agent_id or task.key.project_id) for task in tasks}
