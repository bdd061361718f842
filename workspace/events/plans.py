"""Events of plans, and of what becomes of single tasks in them."""

from uuid import UUID

from pydantic import Field

from workspace.events.payload import Failure, Payload, Usage
from workspace.events.types import EventType
from workspace.plans.view import PlanView


class TaskPlanCreated(Payload):
    """The orchestrator has a plan for the message; its tasks run when it is approved, or at once."""

    event_type = EventType.TASK_PLAN_CREATED

    plan: PlanView
    usage: Usage = Field(description="of planning")
    needs_approval: bool


class PlanRequest(Payload):
    """The owner is asked whether the plan may run. `approval_required`, which follows, says until when."""

    event_type = EventType.PLAN_REQUEST

    approval_id: UUID
    plan: PlanView
    reasons: tuple[str, ...] = Field(description="why its owner is asked")


class TaskSkipped(Payload):
    """The task will not run: something that it depends on went wrong."""

    event_type = EventType.TASK_SKIPPED

    agent_id: UUID | None
    agent_name: str
    plan_task_id: str
    because_of: tuple[str, ...] = Field(description="the tasks before it that went wrong, by their names in the plan")


class TaskCancelled(Payload):
    """One task of a plan was ended before its result: its agent was deleted, or the run is to end."""

    event_type = EventType.TASK_CANCELLED

    agent_id: UUID | None
    agent_name: str
    plan_task_id: str
    error: Failure
