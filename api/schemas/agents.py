"""Agents over HTTP."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.common import PageQuery, ResponseModel
from models.statuses import AgentStatus, TaskStatus
from workspace.agent_config import AgentConfig
from workspace.agent_store import AgentMetrics, AgentView


class AgentQuery(PageQuery):
    """Which agents are wanted."""

    status: AgentStatus | None = None


class AgentResponse(ResponseModel):
    """An agent."""

    id: UUID
    agent_id: str = Field(description="`user{id}_{name}_{version}`")
    name: str
    version: int
    status: AgentStatus
    status_reason: str | None
    config: AgentConfig
    created_at: datetime

    @classmethod
    def of(cls, view: AgentView) -> Self:
        """Return the response for a row and its present status."""
        agent = view.agent
        return cls(
            id=agent.id,
            agent_id=agent.slug,
            name=agent.name,
            version=agent.version,
            status=view.status,
            status_reason=agent.status_reason,
            config=AgentConfig.model_validate(agent.config),
            created_at=agent.created_at,
        )


class AgentStatusResponse(ResponseModel):
    """Whether an agent is well and what it has to do."""

    id: UUID
    status: AgentStatus
    status_reason: str | None
    concurrency_limit: int
    running: int
    queued: int


class AgentMetricsResponse(ResponseModel):
    """How an agent did so far."""

    total_tasks: int
    tasks_by_status: dict[TaskStatus, int]
    success_rate: float | None = Field(description="completed among completed and failed, 0 to 1")
    average_duration: float | None = Field(description="seconds, of completed tasks")

    @classmethod
    def of(cls, metrics: AgentMetrics) -> Self:
        """Return the response for counts."""
        return cls(
            total_tasks=sum(metrics.tasks.values()),
            tasks_by_status=metrics.tasks,
            success_rate=metrics.success_rate,
            average_duration=metrics.average_duration,
        )
