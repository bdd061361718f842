"""What comes after the end of tasks of plans is committed, whoever ended them: events first, then the edges."""

from collections.abc import Callable, Iterable
from uuid import UUID

from workspace.agent_bus import AgentBus
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope
from workspace.names import WorkspaceKey
from workspace.plans.edges import Edges, FollowUps
from workspace.plans.ended import EndedPlan
from workspace.plans.telling import tell_skipped


class PlanAfterwards:
    """Tells and sends what follows the end of tasks of plans, whoever ended them, after the commit."""

    def __init__(
        self, *, publisher: EventPublisher, bus: AgentBus, edges: Edges, announce: Callable[[UUID], object]
    ) -> None:
        """Take what it needs.

        Args:
            announce: notes that the end of a run was told.
        """
        self._publisher = publisher
        self._bus = bus
        self._edges = edges
        self._announce = announce

    def carry_out(self, key: WorkspaceKey, follow_ups: FollowUps, over: Iterable[EndedPlan]) -> None:
        """Tell of what was skipped, send the edges; and of runs that are over, tell the end and send what they held."""
        tell_skipped(self._publisher, follow_ups.skipped)
        for ended in over:
            scope = EventScope(key=key, session_id=ended.session_id, run_id=ended.run_id)
            if self._publisher.publish(scope, ended.event()):
                self._announce(ended.run_id)
            # After the end was told, so that a stream never shows the next run of a session before that.
            if ended.next_task:
                next_task = ended.next_task
                self._bus.send_task_to_agent(next_task.key, next_task.agent_name, next_task.id)
        self._edges.send(follow_ups)
