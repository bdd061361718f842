"""The orchestrator's own tasks on their node: start, planning or closing, end, and the events that tell of each."""

import itertools
from typing import NamedTuple
from uuid import UUID

import structlog

from models import utc_now
from orchestrator.calibrating import observe
from orchestrator.closing_task import ClosingTask
from orchestrator.planning_task import PlanningTask
from orchestrator.run_end import Ended, RunEnd, RunEnds
from workspace.agent_bus import AgentBus
from workspace.announcements import Announcements
from workspace.cancellation import failure_of
from workspace.errors import InternalFailure, RunFailure, WorkerLost, WorkerShutdown
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, TaskStarted
from workspace.interruptible import Interrupted, StopSignal
from workspace.ledger import HeldBack, Host, Ledger, QueuedTask, StartedTask
from workspace.metrics import TASK_SECONDS, TASKS_SETTLED
from workspace.names import ORCHESTRATOR, PLANNING_ID, WorkspaceKey
from workspace.patience import patiently
from workspace.sweeping.lost_hosts import MOST_ATTEMPTS
from workspace.task_end import scope_of
from workspace.user_cap import UserCap, waits_for_cap

log = structlog.get_logger(__name__)


class OrchestratorServices(NamedTuple):
    """What the orchestrator's tasks share."""

    ledger: Ledger
    ends: RunEnds
    publisher: EventPublisher
    bus: AgentBus
    user_cap: UserCap
    announcements: Announcements


class OrchestratorRun:
    """Carries out one task of an orchestrator."""

    def __init__(self, services: OrchestratorServices, planning: PlanningTask, closing: ClosingTask) -> None:
        self._services = services
        self._planning = planning
        self._closing = closing

    def execute(self, task_id: UUID, key: WorkspaceKey, host: Host, stop: StopSignal) -> bool:
        """Run one task as far as it goes, in the slot that it holds.

        Returns:
            Whether there was anything to do.
        """
        asked = itertools.count()
        ledger = self._services.ledger
        task = patiently(lambda: ledger.start(task_id, key, key.project_id, host, again=next(asked) > 0))
        if task is None:
            return False
        if isinstance(task, HeldBack):
            self._hold_back(task_id, key, task)
            return True
        with structlog.contextvars.bound_contextvars(run_id=str(task.run_id), session_id=str(task.session_id)):
            started = TaskStarted(
                agent_id=None, agent_name=ORCHESTRATOR, attempt=task.attempt, plan_task_id=task.plan_task_id
            )
            self._services.publisher.publish(scope_of(task), started)
            self._carry_out(task, stop)
            self._let_go(key.user_id)
        return True

    def _carry_out(self, task: StartedTask, stop: StopSignal) -> None:
        end = self._work(task, stop)
        if end is None:
            return
        try:
            self._end(task, end)
        except Exception:  # the outcome itself cannot be written: say so, where that can be
            log.exception("outcome_not_written")
            self._end(task, RunEnd.of_failure(InternalFailure()))

    def _work(self, task: StartedTask, stop: StopSignal) -> RunEnd | None:
        """Return how the run ends, if it does."""
        body = self._planning if task.plan_task_id == PLANNING_ID else self._closing
        try:
            return body.run(task, stop)
        except Interrupted as interrupt:
            return self._interrupted(task, interrupt.failure)
        except RunFailure as failure:
            return RunEnd.of_failure(failure)
        except Exception:  # the border of a task: whatever else goes wrong becomes an honest failure
            log.exception("task_crashed")
            return RunEnd.of_failure(InternalFailure())

    def _interrupted(self, task: StartedTask, failure: RunFailure) -> RunEnd | None:
        if _begins_anew(task, failure):
            if patiently(lambda: self._services.ledger.requeue(task)):
                log.info("task_requeued", task_id=str(task.id))
                self._services.bus.send_task_to_agent(task.key, ORCHESTRATOR, task.id)
                return None
            reason = patiently(lambda: self._services.ledger.cancel_reason(task))
            if reason is not None:
                failure = failure_of(reason)
        return RunEnd.of_failure(failure)

    def _end(self, task: StartedTask, end: RunEnd) -> None:
        """Write the end of a run, tell of it, and send what it released."""
        ended: Ended | None = patiently(lambda: self._services.ends.write(task, end))
        if ended is None:
            log.warning("result_refused", task_id=str(task.id), reason="the task is no longer this node's")
            return
        TASKS_SETTLED.labels(end.task.value).inc()
        TASK_SECONDS.observe((utc_now() - task.started_at).total_seconds())
        if ended.plan and ended.outcome and not end.failure:
            observe(ended.plan, ended.outcome)
        if self._services.publisher.publish(scope_of(task), *ended.events(task)) is not None:
            self._services.announcements.add(task.run_id)
        # After its own end was told, so that a stream never shows the next run of a session before that.
        if ended.next_task:
            self._send(ended.next_task)

    def _hold_back(self, task_id: UUID, key: WorkspaceKey, held: HeldBack) -> None:
        """Tell that the task waits for the user's other work; should that have ended meanwhile, let it go at once."""
        scope = EventScope(key=key, session_id=held.session_id, run_id=held.run_id, task_id=task_id)
        self._services.publisher.publish(scope, waits_for_cap(None, ORCHESTRATOR, self._services.user_cap.cap))
        self._let_go(key.user_id)

    def _let_go(self, user_id: UUID) -> None:
        """Send what waited for the user-wide cap and may go now."""
        for task in patiently(lambda: self._services.user_cap.release(user_id)):
            self._send(task)

    def _send(self, task: QueuedTask) -> None:
        self._services.bus.send_task_to_agent(task.key, task.agent_name, task.id)


def _begins_anew(task: StartedTask, failure: RunFailure) -> bool:
    """Whether a task that had to stop here is done by whoever hosts its workspace next, which may be this node again.

    A node that was out of reach of its stores stops as if it was lost; as long as nobody has taken its workspace, only
    it can say what becomes of the task.
    """
    if isinstance(failure, WorkerLost):
        return task.attempt < MOST_ATTEMPTS
    return isinstance(failure, WorkerShutdown)
