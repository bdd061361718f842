"""The planning task of a run: a plan, its owner's yes where one is wanted, and the launch.

It may be started any number of times, after a shutdown or when its owner has answered. A run is planned once; each
further start takes up what the rows have.
"""

import itertools
import time
from collections.abc import Callable

import structlog

from models import ApprovalRequest
from orchestrator.launching import Launching
from orchestrator.personal import PersonalOrchestrator
from orchestrator.plan_approvals import Approved, Declined, events
from orchestrator.run_end import RunEnd
from orchestrator.run_rows import RunRows, Standing
from orchestrator.viewing import plan_of
from settings import Settings
from workspace.cancellation import failure_of
from workspace.event_publisher import EventPublisher
from workspace.events import TaskPlanCreated, TaskWaiting, Usage
from workspace.history import fit
from workspace.interruptible import LONGEST_SLICE, Interrupted, StopSignal, Watch
from workspace.ledger import Ledger, StartedTask
from workspace.names import ORCHESTRATOR
from workspace.patience import patiently
from workspace.plans.view import PlanView
from workspace.task_end import scope_of
from workspace.tools.transcript import WaitReason

log = structlog.get_logger(__name__)


class PlanningTask:
    """Carries out planning tasks."""

    def __init__(
        self,
        *,
        settings: Settings,
        orchestrator: PersonalOrchestrator,
        rows: RunRows,
        launching: Launching,
        ledger: Ledger,
        publisher: EventPublisher,
    ) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._rows = rows
        self._launching = launching
        self._ledger = ledger
        self._publisher = publisher

    def run(self, task: StartedTask, stop: StopSignal) -> RunEnd | None:
        """Bring a run as far as it goes now.

        Returns:
            Its end, if it has no future; `None`: its plan is at work, or its owner is asked.

        Raises:
            AgentDeleted: the project has no agents any more.
            Interrupted: it has to stop.
        """
        standing = patiently(lambda: self._rows.standing(task))
        match standing.verdict:
            case Declined(failure=failure):
                return RunEnd.of_failure(failure, cancelled=True)
            case Approved(view=view):
                self._take_over(task, view, standing)
                return self._go_ahead(task, view, standing.usage)
        if standing.view is None:
            view, usage, reasons = self._plan(task, stop)
        else:
            view, usage = standing.view, standing.usage
            was_allowed = standing.was_allowed
            reasons = () if was_allowed else patiently(lambda: self._orchestrator.reasons(task.key, view))
        self._tell(task, view, usage, needs_approval=bool(reasons))
        stop.check()
        if reasons:
            self._park(task, view, reasons)
            return None
        return self._go_ahead(task, view, usage)

    def _plan(self, task: StartedTask, stop: StopSignal) -> tuple[PlanView, Usage, tuple[str, ...]]:
        conversation = fit(
            task.newest_messages, messages=self._settings.history_messages, tokens=self._settings.history_tokens
        )
        deadline = time.monotonic() + self._settings.task_deadline - task.ran_seconds
        watch = Watch(stop, deadline=deadline, on_wait=lambda: LONGEST_SLICE)
        proposal = patiently(lambda: self._orchestrator.propose(task.key, task.run_id, conversation, watch))
        view = patiently(lambda: self._rows.keep_plan(task, proposal.view, proposal.usage))
        log.info("plan_made", plan_id=str(view.plan_id), source=view.source, tasks=len(view.tasks))
        return view, proposal.usage, proposal.reasons

    def _take_over(self, task: StartedTask, view: PlanView, standing: Standing) -> None:
        """Write and tell what the owner made of a plan, if it is another one now."""
        if view != standing.view:
            patiently(lambda: self._rows.change_plan(task, view))
            self._tell(task, view, standing.usage, needs_approval=False)

    def _tell(self, task: StartedTask, view: PlanView, usage: Usage, *, needs_approval: bool) -> None:
        created = TaskPlanCreated(plan=view, usage=usage, needs_approval=needs_approval)
        self._publisher.publish(scope_of(task), created)

    def _park(self, task: StartedTask, view: PlanView, reasons: tuple[str, ...]) -> None:
        approval = _counted(lambda again: self._rows.park(task, view, reasons, again=again))
        waits = TaskWaiting(
            agent_id=None,
            agent_name=ORCHESTRATOR,
            reason=WaitReason.APPROVAL.value,
            detail="Waits for its owner's answer to the plan.",
        )
        self._publisher.publish(scope_of(task), *events(approval), waits)

    def _go_ahead(self, task: StartedTask, view: PlanView, usage: Usage) -> RunEnd | None:
        if patiently(lambda: self._launching.launch(task, view, plan_of(view), usage)):
            return None
        reason = patiently(lambda: self._ledger.cancel_reason(task))
        if reason is not None:
            raise Interrupted(failure_of(reason))
        log.warning("result_refused", task_id=str(task.id), reason="the task is no longer this node's")
        return None


def _counted(call: Callable[[bool], ApprovalRequest]) -> ApprovalRequest:
    """Ask the database patiently, and say of each try whether there was one before it."""
    tries = itertools.count()
    return patiently(lambda: call(next(tries) > 0))
