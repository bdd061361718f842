"""The ends of runs."""

from uuid import UUID

from pydantic import Field

from models.statuses import RunMode, RunStatus
from workspace.events.payload import Failure, Payload, Usage
from workspace.events.types import EventType
from workspace.plans.view import PlanOutcome


class RunCompleted(Payload):
    """The message is answered."""

    event_type = EventType.RUN_COMPLETED

    mode: RunMode
    message_id: UUID | None
    usage: Usage
    status: RunStatus = Field(RunStatus.COMPLETED, description="`partial`: some tasks of its plan have no result")
    outcome: PlanOutcome | None = Field(None, description="what became of its plan; null for direct runs")


class RunFailed(Payload):
    """The message could not be answered."""

    event_type = EventType.RUN_FAILED

    mode: RunMode
    error: Failure
    outcome: PlanOutcome | None = Field(None, description="what became of its plan; null without one")


class RunCancelled(Payload):
    """The run was ended before its answer."""

    event_type = EventType.RUN_CANCELLED

    mode: RunMode
    error: Failure
    outcome: PlanOutcome | None = Field(None, description="what became of its plan; null without one")
