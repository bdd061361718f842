"""The end of an orchestrated run, and the event that tells of it."""

from dataclasses import dataclass
from uuid import UUID

from models.statuses import RunMode, RunStatus
from workspace.errors import CodelabError
from workspace.events import Failure, Payload, RunCancelled, RunCompleted, RunFailed, Usage
from workspace.ledger import QueuedTask
from workspace.plans.view import PlanOutcome


@dataclass(frozen=True, kw_only=True)
class EndedPlan:
    """A run that ended with its last task, and has to be told of."""

    run_id: UUID
    session_id: UUID
    status: RunStatus
    usage: Usage
    error: Failure | None
    outcome: PlanOutcome | None
    next_task: QueuedTask | None
    """What its session held until then; it has to be sent."""

    def event(self) -> Payload:
        """Return what its session is told."""
        return terminal_event(self.status, error=self.error, usage=self.usage, outcome=self.outcome)


def terminal_event(
    status: RunStatus,
    *,
    error: Failure | None,
    usage: Usage,
    outcome: PlanOutcome | None,
    message_id: UUID | None = None,
) -> Payload:
    """Return the event that tells of the end of an orchestrated run."""
    mode = RunMode.ORCHESTRATED
    if status in {RunStatus.COMPLETED, RunStatus.PARTIAL}:
        return RunCompleted(mode=mode, message_id=message_id, usage=usage, status=status, outcome=outcome)
    told = error or Failure(error_code=CodelabError.code, detail="unknown")
    if status is RunStatus.CANCELLED:
        return RunCancelled(mode=mode, error=told, outcome=outcome)
    return RunFailed(mode=mode, error=told, outcome=outcome)
