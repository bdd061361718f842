"""Sessions, messages and runs over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.common import PageQuery, RequestModel, ResponseModel, Text
from models import Message, Run, Task
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from orchestrator.viewing import drawn
from workspace.agent_config import AgentName
from workspace.chat_store import Outcome, RunView, SessionView
from workspace.events import Failure, Usage
from workspace.explanations import WaitCode, Why
from workspace.intake import OnBusy
from workspace.plans.view import PlanOutcome, PlanView


class SessionRequest(RequestModel):
    """A session to begin."""

    title: Text | None = Field(None, min_length=1, max_length=256)


class SessionResponse(ResponseModel):
    """A session."""

    id: UUID
    title: str | None
    created_at: datetime
    message_count: int

    @classmethod
    def of(cls, view: SessionView) -> Self:
        """Return the response for a row."""
        chat = view.session
        return cls(id=chat.id, title=chat.title, created_at=chat.created_at, message_count=view.message_count)


class MessageRequest(RequestModel):
    """A message for one agent, or for the orchestrator, which plans who does what."""

    content: Text = Field(min_length=1, max_length=100_000)
    target_agent: AgentName | None = Field(
        None, description="the name of the agent that answers; null: the orchestrator plans who does what"
    )
    on_busy: OnBusy = Field(
        OnBusy.ENQUEUE,
        description="while a run of the session is not finished: `enqueue` answers this after it, `reject` refuses "
        "this with 409 `session_busy`, `interrupt` cancels that run, keeps what it wrote, and answers this",
    )


class AcceptedResponse(ResponseModel):
    """A message that will be answered; what happens is told at `events_url`."""

    message_id: UUID
    run_id: UUID
    task_id: UUID
    mode: RunMode
    status: TaskStatus
    queue_position: int = Field(description="tasks ahead of it on the queue of its agent, or of the orchestrator")
    events_url: str


class MessageQuery(PageQuery):
    """Which messages are wanted."""

    role: MessageRole | None = None


class MessageResponse(ResponseModel):
    """A message."""

    id: UUID
    run_id: UUID
    role: MessageRole
    content: str
    agent_id: UUID | None
    agent_name: str | None
    created_at: datetime

    @classmethod
    def of(cls, message: Message) -> Self:
        """Return the response for a row."""
        return cls.model_validate(message, from_attributes=True)


class AnsweredResponse(AcceptedResponse):
    """A message whose run has ended, for a sender who waited."""

    run_status: RunStatus
    reply: MessageResponse | None = Field(description="null where there is none, as after a failure")
    error: Failure | None
    usage: Usage

    @classmethod
    def of(cls, accepted: AcceptedResponse, outcome: Outcome) -> Self:
        """Return the response for what was accepted and how it ended."""
        run, reply = outcome
        return cls(
            **dict(accepted),
            run_status=run.status,
            reply=MessageResponse.of(reply) if reply is not None else None,
            error=Failure.model_validate(run.error) if run.error is not None else None,
            usage=Usage.model_validate(run.usage),
        )


class RunQuery(PageQuery):
    """Which runs are wanted."""

    status: RunStatus | None = None


class RunSummary(ResponseModel):
    """A run without its tasks."""

    id: UUID
    session_id: UUID
    mode: RunMode
    status: RunStatus
    error: Failure | None
    usage: Usage
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    retry_of: UUID | None = Field(description="the run of which this one does again what has no result")

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the response for a row."""
        return cls.model_validate(run, from_attributes=True)


class TaskResponse(ResponseModel):
    """One agent's piece of a run."""

    id: UUID
    agent_id: UUID | None
    agent_name: str
    agent_version: int
    plan_task_id: str | None = Field(
        description="its name in the plan; `_planning` and `_closing` are the orchestrator's own; null in direct runs"
    )
    instruction: str | None = Field(description="what the plan asks its agent for")
    depends_on: list[str] = Field(description="the tasks whose results it is given, by their names in the plan")
    result: str | None = Field(description="what it came to, in a plan; the answer of a run is a message")
    status: TaskStatus
    held_reason: HeldReason | None
    error: Failure | None
    usage: Usage
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, task: Task, names: Mapping[UUID, str]) -> Self:
        """Return the response for a row.

        Args:
            task: the row.
            names: those that the tasks of its run have in the plan.
        """
        columns = {name: getattr(task, name) for name in cls.model_fields}
        return cls.model_validate(columns | {"depends_on": [names[each] for each in task.depends_on if each in names]})


class WhyResponse(ResponseModel):
    """Why a run is not finished."""

    code: WaitCode
    detail: str
    agent_name: str | None
    queue_position: int | None = Field(description="tasks ahead of it on the agent's queue")
    run_id: UUID | None = Field(description="the run that it waits for")
    retry_in: float | None = Field(description="seconds until the model is asked again")
    approval_ids: list[UUID] = Field(description="what its owner has to answer")
    tool_call_ids: list[UUID] = Field(description="what its owner's client has to carry out")


class RunResponse(RunSummary):
    """A run with its tasks."""

    tasks: list[TaskResponse]
    plan: PlanView | None = Field(description="null in direct runs, and while there is none")
    mermaid: str | None = Field(description="the plan as Mermaid text, each task in the colour of its status")
    outcome: PlanOutcome | None = Field(description="what became of the plan; null while it is not known")
    why: WhyResponse | None = Field(description="null when the run has ended")

    @classmethod
    def of_view(cls, view: RunView, why: Why | None) -> Self:
        """Return the response for a run and its tasks."""
        summary = RunSummary.of(view.run)
        names = {task.id: task.plan_task_id for task in view.tasks if task.plan_task_id is not None}
        statuses = {names[task.id]: task.status for task in view.tasks if task.id in names}
        plan = PlanView.model_validate(view.run.plan) if view.run.plan else None
        return cls(
            **dict(summary),
            tasks=[TaskResponse.of(task, names) for task in view.tasks],
            plan=plan,
            mermaid=drawn(plan, statuses) if plan else None,
            outcome=PlanOutcome.model_validate(view.run.outcome) if view.run.outcome else None,
            why=WhyResponse.model_validate(why._asdict()) if why else None,
        )
