"""`workspace/`: the live backend side of a project."""

import time
from typing import Final

from flask import Response

from api.http import Resource, key, no_content, web, workspace
from api.schemas.workspaces import ResetResponse, WorkspaceRequest, WorkspaceResponse
from workspace.survey import Surveyed

workspaces = Resource("workspace")

READY_WITHIN: Final = 2.0
"""Seconds that a request waits for a node; one that lives takes a workspace in a tenth of that."""
LOOK: Final = 0.05


@workspaces.on("GET", "/workspace/", answers=WorkspaceResponse)
def get_workspace() -> WorkspaceResponse:
    """Read a project's workspace: its state, its health, its agents and their work."""
    return WorkspaceResponse.of(web().workspaces.get(key()))


@workspaces.on("POST", "/workspace/", answers=WorkspaceResponse, or_answers={202: WorkspaceResponse})
def open_workspace(json: WorkspaceRequest) -> tuple[WorkspaceResponse, int]:
    """Initialise a project's workspace before its first use, and replace its settings where some are given.

    200 when it is ready, which takes moments; 202 if no node took it yet: `state` tells when one has.
    """
    space = workspace()
    if json.settings is not None:
        space.configure(json.settings)
    surveyed = web().workspaces.get(key())
    if not surveyed.facts.is_hosted:
        space.initialize()
        surveyed = _await_ready()
    return WorkspaceResponse.of(surveyed), 200 if surveyed.facts.is_initialized else 202


def _await_ready() -> Surveyed:
    """Look at the workspace until a node has it ready, for a short while."""
    until = time.monotonic() + READY_WITHIN
    surveyed = web().workspaces.get(key())
    while not surveyed.facts.is_initialized and time.monotonic() < until:
        time.sleep(LOOK)
        surveyed = web().workspaces.get(key())
    return surveyed


@workspaces.on("DELETE", "/workspace/", answers=None, status=204)
def close_workspace() -> Response:
    """Close a project's workspace: running work ends, its resources are given back, all data is kept.

    What was accepted is still answered, and the next message opens it again.
    """
    workspace().cleanup()
    return no_content()


@workspaces.on("POST", "/workspace/reset/", answers=ResetResponse)
def reset_workspace() -> ResetResponse:
    """Stop all work of a project now, running and waiting; its runs end as `cancelled`, and it begins anew."""
    return ResetResponse(runs_ended=workspace().reset())
