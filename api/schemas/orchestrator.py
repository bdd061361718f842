"""How a project plans, and how well its estimates did, over HTTP."""

from datetime import datetime
from typing import Self

from pydantic import Field

from api.schemas.common import RequestModel, ResponseModel
from orchestrator.calibrating import Judgements
from orchestrator.config import OrchestratorConfig
from orchestrator.plans.calibration import Calibration, calibration
from orchestrator.team import ConfigView


class OrchestratorConfigResponse(OrchestratorConfig):
    """How a project plans."""

    version: int = Field(description="bumped by each change; 0: nothing was set, these are the defaults")
    updated_at: datetime | None = Field(description="null: nothing was set")

    @classmethod
    def of(cls, view: ConfigView) -> Self:
        """Return the response for a config."""
        return cls(**view.config.model_dump(), version=view.version, updated_at=view.updated_at)


class CalibrationQuery(RequestModel):
    """Which runs are judged."""

    runs: int = Field(100, ge=1, le=500, description="the last so many with a plan that have ended")


class EstimatesResponse(ResponseModel):
    """How well estimates of one kind did."""

    duration: Calibration = Field(description="seconds")
    cost: Calibration = Field(description="US dollars; only where the models have a price")


class CalibrationResponse(ResponseModel):
    """How well a project's estimates did."""

    runs: int = Field(description="runs that were looked at")
    tasks: EstimatesResponse = Field(description="of tasks that were completed")
    plans: EstimatesResponse = Field(description="of plans whose tasks were all completed")

    @classmethod
    def of(cls, found: Judgements) -> Self:
        """Return the response for estimates and what came of them."""
        return cls(
            runs=found.runs,
            tasks=EstimatesResponse(duration=calibration(found.task_durations), cost=calibration(found.task_costs)),
            plans=EstimatesResponse(duration=calibration(found.plan_durations), cost=calibration(found.plan_costs)),
        )
