"""`/my/projects/`: the caller's projects."""

from flask import Response

from api.http import Resource, account, key, no_content, web
from api.schemas.common import Listing, PageQuery
from api.schemas.projects import ProjectRequest, ProjectResponse

projects = Resource("projects", in_project=False)


class ProjectListing(Listing[ProjectResponse]):
    """A part of the caller's projects."""


@projects.on("GET", "/projects/", answers=ProjectListing)
def list_projects(query: PageQuery) -> ProjectListing:
    """List the caller's projects."""
    page = web().projects.page(account().user_id, query.page())
    items = [ProjectResponse.of(project) for project in page.items]
    return ProjectListing(items=items, total=page.total, next_cursor=page.next_cursor)


@projects.on("POST", "/projects/", answers=ProjectResponse, status=201)
def create_project(json: ProjectRequest) -> tuple[ProjectResponse, int]:
    """Make a project."""
    return ProjectResponse.of(web().projects.create(account().user_id, json.content)), 201


@projects.on("GET", "/projects/<uuid:project_id>/", answers=ProjectResponse)
def get_project() -> ProjectResponse:
    """Read a project."""
    return ProjectResponse.of(web().projects.get(key()))


@projects.on("PUT", "/projects/<uuid:project_id>/", answers=ProjectResponse)
def replace_project(json: ProjectRequest) -> ProjectResponse:
    """Replace a project's name, description and where its tools are carried out."""
    return ProjectResponse.of(web().projects.update(key(), json.content))


@projects.on("DELETE", "/projects/<uuid:project_id>/", answers=None, status=204)
def delete_project() -> Response:
    """Delete a project with its agents, sessions and work. The default project stays."""
    deleted = web().projects.delete(key())
    web().manager.get_or_create(key()).forget(deleted.sessions, deleted.agent_names)
    web().manager.remove(key())
    return no_content()
