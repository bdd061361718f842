"""The event that tells of the end of a run, whoever ended it and whenever it is told."""

from uuid import UUID

from models.statuses import RunMode, RunStatus
from workspace.errors import CodelabError
from workspace.events import Failure, Payload, RunCancelled, RunCompleted, RunFailed, Usage
from workspace.plans.view import PlanOutcome


def terminal_event(
    mode: RunMode,
    status: RunStatus,
    *,
    error: Failure | None,
    usage: Usage,
    outcome: PlanOutcome | None,
    message_id: UUID | None = None,
) -> Payload:
    """Return the event that tells of a run's end.

    Args:
        mode: the run's.
        status: with which it ended.
        error: why it has no answer.
        usage: of all its tasks.
        outcome: what became of its plan, if it had one.
        message_id: the answer's.
    """
    if status in {RunStatus.COMPLETED, RunStatus.PARTIAL}:
        return RunCompleted(mode=mode, message_id=message_id, usage=usage, status=status, outcome=outcome)
    told = error or Failure(error_code=CodelabError.code, detail="unknown")
    if status is RunStatus.CANCELLED:
        return RunCancelled(mode=mode, error=told, outcome=outcome)
    return RunFailed(mode=mode, error=told, outcome=outcome)
