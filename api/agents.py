"""`agents/`: the team of a project."""

from uuid import UUID

from flask import Response

from api.http import Resource, key, no_content, web, workspace
from api.schemas.agents import AgentMetricsResponse, AgentQuery, AgentResponse, AgentStatusResponse
from api.schemas.common import Listing
from workspace.agent_config import AgentConfig

agents = Resource("agents")


class AgentListing(Listing[AgentResponse]):
    """A part of a project's agents."""


@agents.on("GET", "/agents/", answers=AgentListing)
def list_agents(query: AgentQuery) -> AgentListing:
    """List the agents of a project."""
    page = web().agents.page(workspace().key, query.page(), status=query.status)
    items = [AgentResponse.of(view) for view in page.items]
    return AgentListing(items=items, total=page.total, next_cursor=page.next_cursor)


@agents.on("POST", "/agents/", answers=AgentResponse, status=201)
def create_agent(json: AgentConfig) -> tuple[AgentResponse, int]:
    """Make an agent."""
    web().tools.check_names(json.tools)
    return AgentResponse.of(workspace().add_agent(json)), 201


@agents.on("GET", "/agents/<uuid:agent_id>/", answers=AgentResponse)
def get_agent(agent_id: UUID) -> AgentResponse:
    """Read an agent."""
    return AgentResponse.of(web().agents.get(key(), agent_id))


@agents.on("PUT", "/agents/<uuid:agent_id>/", answers=AgentResponse)
def replace_agent(agent_id: UUID, json: AgentConfig) -> AgentResponse:
    """Replace an agent's config: the limit takes effect at once, the rest with its next task."""
    web().tools.check_names(json.tools)
    return AgentResponse.of(workspace().replace_agent(agent_id, json))


@agents.on("DELETE", "/agents/<uuid:agent_id>/", answers=None, status=204)
def delete_agent(agent_id: UUID) -> Response:
    """Delete an agent: its running tasks are stopped, its waiting ones cancelled."""
    workspace().remove_agent(agent_id)
    return no_content()


@agents.on("GET", "/agents/<uuid:agent_id>/status/", answers=AgentStatusResponse)
def agent_status(agent_id: UUID) -> AgentStatusResponse:
    """Read whether an agent is well and what it has to do."""
    view = web().agents.get(key(), agent_id)
    load = web().agents.load(key(), agent_id)
    return AgentStatusResponse(
        id=agent_id,
        status=view.status,
        status_reason=view.agent.status_reason,
        concurrency_limit=AgentConfig.model_validate(view.agent.config).concurrency_limit,
        running=load.running,
        queued=load.queued,
    )


@agents.on("GET", "/agents/<uuid:agent_id>/metrics/", answers=AgentMetricsResponse)
def agent_metrics(agent_id: UUID) -> AgentMetricsResponse:
    """Read how an agent did so far."""
    return AgentMetricsResponse.of(web().agents.metrics(key(), agent_id))
