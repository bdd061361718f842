"""`workspace/`: the live backend side of a project."""

from api.http import Resource, key, web
from api.schemas.workspaces import WorkspaceResponse

workspaces = Resource("workspace")


@workspaces.on("GET", "/workspace/", answers=WorkspaceResponse)
def get_workspace() -> WorkspaceResponse:
    """Read a project's workspace: its state, its health, its agents and their work."""
    return WorkspaceResponse.of(web().workspaces.get(key()))
