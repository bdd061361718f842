"""A plan as it is shown and stored: in `runs.plan` and `runs.outcome`, in events and over HTTP."""

from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from models.statuses import TaskStatus


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanSource(StrEnum):
    """Where a plan comes from."""

    MODEL = "model"
    REPAIRED = "repaired"  # the model's second one: the first had mistakes
    CACHE = "cache"  # one that the model made for the same request and the same agents
    FALLBACK = "fallback"  # a simple one, because the model gave none in time
    RETRY = "retry"  # that of the run of which this one does again what failed


class Range(_Shown):
    """In one case of two it is at most `p50`, in nine of ten at most `p90`."""

    p50: float
    p90: float


class PlanDuration(_Shown):
    """How long a plan may take, in seconds of its tasks' own running time."""

    parallel: Range = Field(description="each task as soon as what it depends on has ended")
    sequential: Range = Field(description="one task after the other")


class PlanTask(_Shown):
    """One task of a plan."""

    task_id: UUID
    id: str = Field(description="its name in the plan")
    agent_id: UUID
    agent_name: str
    instruction: str
    depends_on: tuple[str, ...] = Field(description="the tasks whose results it is given, by their names in the plan")
    why_this_agent: str
    estimated_duration: Range = Field(description="seconds")
    estimated_cost: Range | None = Field(description="US dollars; null where the model has no price")
    samples: int = Field(description="how many tasks of the agent the estimate comes from, besides assumed figures")


class PlanView(_Shown):
    """The task graph of an orchestrated run."""

    plan_id: UUID
    source: PlanSource
    rationale: str
    tasks: tuple[PlanTask, ...]
    estimated_duration: PlanDuration
    estimated_cost: Range | None = Field(
        description="US dollars; null where the model of one of its tasks has no price"
    )
    critical_path: tuple[str, ...] = Field(description="the tasks that decide how long it takes")
    mermaid: str = Field(description="the graph as Mermaid text")


class TaskOutcomeView(_Shown):
    """What became of a task of a plan."""

    task_id: UUID
    id: str
    agent_name: str
    status: TaskStatus
    because_of: tuple[str, ...] = Field(description="of a skipped task: those before it that went wrong")
    detail: str | None = Field(description="why it failed")
    duration: float | None = Field(description="seconds of its own running time")
    cost: Decimal | None = Field(description="US dollars")


class PlanOutcome(_Shown):
    """What became of a plan."""

    tasks: tuple[TaskOutcomeView, ...]
    duration: float = Field(description="seconds from the first start of a task to the last end of one")
    cost: Decimal | None = Field(description="US dollars, planning and the closing answer included")
