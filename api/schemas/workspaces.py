"""Workspaces over HTTP: one to its owner, all of them to admins."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import Field

from api.schemas.common import RequestModel, ResponseModel, Text
from models import Json
from models.statuses import AgentStatus, WorkspaceState
from workspace.alerts import AlertRecord
from workspace.health import AgentFacts, Health, HealthStatus, ReasonCode
from workspace.names import ORCHESTRATOR
from workspace.space_settings import SpaceSettings
from workspace.survey import Surveyed

MAX_SPACES = 10_000


class ReasonResponse(ResponseModel):
    """One thing that is wrong."""

    code: ReasonCode
    detail: str


class HealthResponse(ResponseModel):
    """How well a workspace is, and why it is not better."""

    status: HealthStatus
    reasons: list[ReasonResponse]

    @classmethod
    def of(cls, health: Health) -> Self:
        """Return the response for a judgement."""
        return cls(status=health.status, reasons=_reasons(health))


def _reasons(health: Health) -> list[ReasonResponse]:
    return [ReasonResponse(code=reason.code, detail=reason.detail) for reason in health.reasons]


class WorkspaceRequest(RequestModel):
    """A workspace to initialise."""

    settings: SpaceSettings | None = Field(None, description="replaces its settings; null: they stay as they are")


class ResetResponse(ResponseModel):
    """What a reset ended."""

    runs_ended: int


class WorkspaceAgentResponse(ResponseModel):
    """What an agent has to do."""

    id: UUID
    name: str
    status: AgentStatus
    attached: bool = Field(description="whether the host consumes its queue")
    limit: int
    running: int
    queued: int = Field(description="tasks that wait, held ones too")

    @classmethod
    def of(cls, agent: AgentFacts, *, attached: bool) -> Self:
        """Return the response for an agent."""
        return cls(
            id=agent.agent_id,
            name=agent.name,
            status=AgentStatus.BUSY if agent.running else agent.status,
            attached=attached,
            limit=agent.limit,
            running=agent.running,
            queued=agent.waiting,
        )


class WorkspaceResponse(ResponseModel):
    """A workspace, as its owner sees it."""

    state: WorkspaceState = Field(description="`in_use` while something runs")
    hosted: bool
    health: HealthResponse
    settings: Json
    agents: list[WorkspaceAgentResponse]
    running: int
    queued: int = Field(description="tasks that may start")
    held: int = Field(description="tasks that may not start yet")
    cache_size: int = Field(description="agent configs in the host's memory")
    epoch: int
    created_at: datetime
    initialized_at: datetime | None
    idle_seconds: float | None = Field(description="since its host last worked for it")

    @classmethod
    def of(cls, surveyed: Surveyed) -> Self:
        """Return the response for a workspace."""
        facts, report, health = surveyed
        attached = report.agents if report is not None else {}
        return cls(
            state=facts.shown_state,
            hosted=facts.is_hosted,
            health=HealthResponse.of(health),
            settings=facts.settings,
            agents=[WorkspaceAgentResponse.of(each, attached=each.agent_id in attached) for each in facts.agents],
            running=facts.running,
            queued=facts.queued,
            held=facts.held,
            cache_size=report.cache if report is not None else 0,
            epoch=facts.epoch,
            created_at=facts.created_at,
            initialized_at=facts.initialized_at,
            idle_seconds=round(report.idle_seconds, 1) if report is not None else None,
        )


class SpacesQuery(RequestModel):
    """Which workspaces are shown. Totals count those of all pages."""

    user_id: UUID | None = Field(None, description="those of this user only")
    limit: int = Field(1_000, ge=1, le=MAX_SPACES)
    cursor: Text | None = Field(None, max_length=128, description="`next_cursor` of the part before")


class SpaceHealth(ResponseModel):
    """How well one workspace is."""

    healthy: bool
    agents: int
    initialized: bool
    status: HealthStatus
    reasons: list[ReasonResponse]

    @classmethod
    def of(cls, surveyed: Surveyed) -> Self:
        """Return the response for a workspace."""
        facts, _, health = surveyed
        return cls(
            healthy=health.status is not HealthStatus.UNHEALTHY,
            agents=len(facts.agents),
            initialized=facts.is_initialized,
            status=health.status,
            reasons=_reasons(health),
        )


class SpacesHealthResponse(ResponseModel):
    """How well the workspaces of a deployment are."""

    healthy: bool
    total_spaces: int
    healthy_spaces: int
    unhealthy_spaces: list[str] = Field(description="slugs, of all pages")
    details: dict[str, SpaceHealth] = Field(description="by slug")
    next_cursor: str | None


class SpaceStats(ResponseModel):
    """What one hosted workspace has and does."""

    user_id: UUID
    project_id: UUID
    state: WorkspaceState = Field(description="`in_use` while something runs")
    initialized: bool
    active_agents: int = Field(description="agents whose queues its host consumes")
    agent_ids: list[UUID] = Field(description="of the active agents")
    cache_size: int = Field(description="agent configs in the host's memory")
    initialization_time: datetime | None
    running: int
    queued: int = Field(description="tasks that wait, held ones too")
    node_id: str
    epoch: int

    @classmethod
    def of(cls, surveyed: Surveyed) -> Self:
        """Return the response for a workspace that is hosted."""
        facts, report, _ = surveyed
        assert facts.node_id is not None
        attached = report.agents if report is not None else {}
        active = sorted(agent_id for agent_id, agent in attached.items() if agent.name != ORCHESTRATOR)
        return cls(
            user_id=facts.key.user_id,
            project_id=facts.key.project_id,
            state=facts.shown_state,
            initialized=facts.is_initialized,
            active_agents=len(active),
            agent_ids=active,
            cache_size=report.cache if report is not None else 0,
            initialization_time=facts.initialized_at,
            running=facts.running,
            queued=facts.queued + facts.held,
            node_id=facts.node_id,
            epoch=facts.epoch,
        )


class AlertsResponse(ResponseModel):
    """What operators should know although nothing failed yet."""

    items: list[AlertRecord]


class SpacesStatsResponse(ResponseModel):
    """What the hosted workspaces of a deployment have and do."""

    active_spaces: int
    spaces: dict[str, SpaceStats] = Field(description="by slug")
    next_cursor: str | None
