"""`/admin/workspaces/`: the workspaces of all users, to admins."""

from uuid import UUID

import redis

from api.http import AdminResource, web
from api.schemas.workspaces import (
    AlertsResponse,
    ResetResponse,
    SpaceHealth,
    SpacesHealthResponse,
    SpacesQuery,
    SpacesStatsResponse,
    SpaceStats,
)
from workspace.errors import Unavailable
from workspace.health import HealthStatus
from workspace.names import WorkspaceKey
from workspace.survey import Surveyed

admin_workspaces = AdminResource("workspaces")


@admin_workspaces.on("GET", "/workspaces/health/", answers=SpacesHealthResponse)
def workspaces_health(query: SpacesQuery) -> SpacesHealthResponse:
    """Read how well the workspaces are: those that are hosted, and those that lack a host and should have one."""
    concerning = web().oversight.concerning(query.user_id)
    spaces = [each for each in concerning if each.facts.is_hosted or _is_unhealthy(each)]
    unhealthy = [each.facts.key.slug for each in spaces if _is_unhealthy(each)]
    shown, next_cursor = _part(spaces, query)
    return SpacesHealthResponse(
        healthy=not unhealthy,
        total_spaces=len(spaces),
        healthy_spaces=len(spaces) - len(unhealthy),
        unhealthy_spaces=unhealthy,
        details={each.facts.key.slug: SpaceHealth.of(each) for each in shown},
        next_cursor=next_cursor,
    )


@admin_workspaces.on("GET", "/workspaces/stats/", answers=SpacesStatsResponse)
def workspaces_stats(query: SpacesQuery) -> SpacesStatsResponse:
    """Read what the hosted workspaces have and do."""
    spaces = web().oversight.hosted(query.user_id)
    shown, next_cursor = _part(spaces, query)
    return SpacesStatsResponse(
        active_spaces=len(spaces),
        spaces={each.facts.key.slug: SpaceStats.of(each) for each in shown},
        next_cursor=next_cursor,
    )


@admin_workspaces.on("POST", "/workspaces/<uuid:user_id>/<uuid:project_id>/reset/", answers=ResetResponse)
def reset_workspace_of(user_id: UUID, project_id: UUID) -> ResetResponse:
    """Stop all work of a workspace now; its runs end as `cancelled`, and it begins anew."""
    return ResetResponse(runs_ended=web().manager.get_or_create(WorkspaceKey(user_id, project_id)).reset())


@admin_workspaces.on("GET", "/alerts/", answers=AlertsResponse)
def recent_alerts() -> AlertsResponse:
    """Read the newest alerts of all processes, the newest first.

    Raises:
        Unavailable: Redis, which keeps them, is out of reach.
    """
    try:
        return AlertsResponse(items=web().alerts.recent())
    except redis.RedisError as error:
        raise Unavailable from error


def _is_unhealthy(surveyed: Surveyed) -> bool:
    return surveyed.health.status is HealthStatus.UNHEALTHY


def _part(spaces: list[Surveyed], query: SpacesQuery) -> tuple[list[Surveyed], str | None]:
    """Return the part of a list, sorted by slug, that a query asks for, and the cursor of the next."""
    rest = [each for each in spaces if query.cursor is None or each.facts.key.slug > query.cursor]
    shown = rest[: query.limit]
    return shown, shown[-1].facts.key.slug if len(rest) > len(shown) else None
