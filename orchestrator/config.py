"""How a project's messages without a target are planned: its `orchestrator/config`."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.plans.plan import MAX_TASKS


class PlanApproval(StrEnum):
    """When the owner is asked whether a plan may run."""

    AUTO = "auto"  # never
    COMPLEX = "complex"  # more than 3 tasks, an agent with a tool of high risk, or a cost over the limit
    ALWAYS = "always"


class OrchestratorConfig(BaseModel):
    """What a person sets of planning. A change of it bumps its version, which cached plans are bound to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(None, min_length=1, max_length=128, description="null: the system's default model")
    instructions: str = Field("", max_length=20_000, description="what the planner is told beside its task")
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    plan_approval: PlanApproval = PlanApproval.COMPLEX
    cost_limit_usd: Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=6)] | None = Field(
        None, description="a plan that may cost more (P90) counts as complex; null: no limit"
    )
    max_tasks: int = Field(MAX_TASKS, ge=1, le=MAX_TASKS, strict=True, description="tasks that a plan may have")
    cache_plans: bool = Field(True, strict=True, description="false: each message is planned anew")
