"""What the tests of running, waiting and ending runs do again and again."""

from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

import httpx

from models.tenancy import Database
from tests.support.api import FINAL, ApiClient
from tests.support.rows import user_id
from tests.support.standin import Standin
from tests.support.streams import Event
from tests.support.waiting import eventually
from workspace.names import WorkspaceKey

Json = dict[str, Any]

SOON = 3.0
"""Seconds in which a stop must be seen: one by the rule, three on a machine that does other work as well."""


def cancel(user: ApiClient, run_id: str) -> httpx.Response:
    """Ask for the end of a run."""
    return user.request("POST", f"runs/{run_id}/cancel/")


def cancelled(user: ApiClient, run_id: str) -> Json:
    """Ask for the end of a run, which must be understood, and return what the answer says of it."""
    answer = cancel(user, run_id)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def post(user: ApiClient, session: str, content: str, agent: str = "helper", **more: Any) -> httpx.Response:
    """Send a message, whatever the answer."""
    return user.post(f"chat/{session}/message/", {"content": content, "target_agent": agent, **more})


def runs_of(user: ApiClient, session: str) -> list[Json]:
    """Return a session's runs, oldest first."""
    items: list[Json] = user.get(f"chat/{session}/runs/", limit=100).json()["items"]
    return items


def calls(standin: Standin, agent: Json, count: int, *, within: float = 20.0) -> None:
    """Wait until the model works on so many calls of an agent."""
    eventually(
        lambda: standin.witness(agent["id"])["current"] == count,
        f"{count} model calls of {agent['name']}",
        within=within,
    )


def settled(user: ApiClient, runs: Iterable[Json]) -> list[Json]:
    """Wait until all runs have ended, and return them in the same order."""

    def ended(run_id: str) -> Json:
        run = user.run(run_id)
        return run if run["status"] in FINAL else {}

    return [
        eventually(partial(ended, run["run_id"]), f"the end of run {run['run_id']}", within=60, every=0.05)
        for run in runs
    ]


def story(events: Iterable[Event], run_id: str) -> list[str]:
    """Return the types of a run's events, without those that speak of its agent."""
    return [event.type for event in events if event.body["run_id"] == run_id and event.type != "agent_status_changed"]


def key_of(user: ApiClient, database: Database) -> WorkspaceKey:
    """Return the key of the workspace that a client speaks to; the default project's, if it names none."""
    if user.prefix == "/my":
        (project,) = [one for one in user.get("/my/projects/").json()["items"] if one["is_default"]]
        project_id = project["id"]
    else:
        project_id = user.prefix.rsplit("/", 1)[-1]
    return WorkspaceKey(user_id(database, user.subject), UUID(project_id))
