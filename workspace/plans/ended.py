"""The end of an orchestrated run that comes with the end of its last task."""

from dataclasses import dataclass
from uuid import UUID

from models.statuses import RunMode, RunStatus
from workspace.events import Failure, Payload, Usage
from workspace.ledger import QueuedTask
from workspace.plans.view import PlanOutcome
from workspace.terminal_event import terminal_event


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
        return terminal_event(
            RunMode.ORCHESTRATED, self.status, error=self.error, usage=self.usage, outcome=self.outcome
        )
