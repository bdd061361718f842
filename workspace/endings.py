"""What follows the end of runs: it is told, nodes that work on them stop, and what waited behind them is sent."""

from models.statuses import RunStatus
from models.tenancy import Database
from workspace.agent_bus import AgentBus
from workspace.announcements import mark_announced
from workspace.broadcast import Broadcaster, Change
from workspace.cancellation import Ending
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, RunCancelled, RunFailed, TaskCancelled
from workspace.metrics import RUNS_CANCELLED
from workspace.names import WorkspaceKey
from workspace.plans.afterwards import PlanAfterwards
from workspace.user_cap import UserCap


class Endings:
    """Carries out what rows already say. What fails here is found by the sweeper and by the nodes themselves."""

    def __init__(
        self,
        *,
        database: Database,
        publisher: EventPublisher,
        broadcaster: Broadcaster,
        bus: AgentBus,
        user_cap: UserCap,
        afterwards: PlanAfterwards,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._broadcaster = broadcaster
        self._bus = bus
        self._user_cap = user_cap
        self._afterwards = afterwards

    def carry_out(self, key: WorkspaceKey, ending: Ending) -> None:
        """Stop, tell and send; to be called after the commit."""
        if ending.at_work:
            self._broadcaster.tell(Change.TASKS_CANCELLED, key, task_ids=ending.at_work, reason=ending.reason)
        for approval in ending.closed:
            scope = EventScope(
                key=key, session_id=approval.session_id, run_id=approval.run_id, task_id=approval.task_id
            )
            self._publisher.publish(scope, approval.event())
        for text in ending.kept:
            scope = EventScope(key=key, session_id=text.session_id, run_id=text.run_id, task_id=text.task_id)
            self._publisher.publish(scope, text.event())
        told = []
        payload = RunFailed if ending.status is RunStatus.FAILED else RunCancelled
        for run in ending.ended:
            RUNS_CANCELLED.labels(ending.reason.value).inc()
            scope = EventScope(key=key, session_id=run.session_id, run_id=run.run_id)
            if self._publisher.publish(scope, payload(mode=run.mode, error=ending.failure, outcome=run.outcome)):
                told.append(run.run_id)
        mark_announced(self._database, told)
        self._tell_tasks(key, ending)
        self._afterwards.carry_out(key, ending.follow_ups, ending.over)
        released = list(ending.released)
        if ending.ended or ending.ended_tasks:
            released += self._user_cap.release(key.user_id)
        for task in released:
            self._bus.send_task_to_agent(task.key, task.agent_name, task.id)

    def _tell_tasks(self, key: WorkspaceKey, ending: Ending) -> None:
        for task in ending.ended_tasks:
            scope = EventScope(key=key, session_id=task.session_id, run_id=task.run_id, task_id=task.task_id)
            cancelled = TaskCancelled(
                agent_id=None, agent_name=task.agent_name, plan_task_id=task.plan_task_id, error=ending.failure
            )
            self._publisher.publish(scope, cancelled)
