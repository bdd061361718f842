"""What the tests of memory do again and again: tell an agent something, wait until it remembers, and ask."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from models import Task
from models.tenancy import Database
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.streams import Event
from tests.support.waiting import eventually
from workspace.recollection import CLOSING, OPENING

Json = dict[str, Any]


def topic() -> str:
    """Return a word that no other test uses: what has it in common is alike to the stand-in, and nothing else is."""
    return f"topic{uuid4().hex}"


def remembered_at(database: Database, accepted: Mapping[str, Any]) -> datetime | None:
    """Return when it was seen to that a message is remembered."""
    with database.system_session("a test looks") as session:
        return session.scalar(select(Task.remembered_at).where(Task.id == UUID(accepted["task_id"])))


def await_remembered(database: Database, accepted: Mapping[str, Any], *, within: float = 20.0) -> None:
    """Wait until it was seen to that a message is remembered."""
    eventually(lambda: remembered_at(database, accepted), "the interaction to be remembered", within=within, every=0.05)


def tell(user: ApiClient, database: Database, content: str, agent: str = "helper") -> Json:
    """Tell an agent something in a session of its own, and wait until it is remembered."""
    accepted = user.answered(user.make_session()["id"], content, agent)
    await_remembered(database, accepted)
    return accepted


def ask(
    user: ApiClient, content: str, agent: str = "helper", *, session: str | None = None
) -> tuple[Json, list[Event]]:
    """Ask an agent something, by default in a new session; returns what the 202 said and the run's events."""
    session = session or user.make_session()["id"]
    accepted = user.send(session, content, agent)
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_completed", "run_failed", "run_cancelled")
    return accepted, [event for event in events if event.body["run_id"] == accepted["run_id"]]


def looks(events: list[Event]) -> list[Json]:
    """Return what the events tell of looks into memory."""
    return [event.payload for event in events if event.type == "context_retrieved"]


def look(events: list[Event]) -> Json:
    """Return the one look into memory."""
    (only,) = looks(events)
    return only


def system_prompts(standin: Standin, content: str) -> list[str]:
    """Return the system prompts with which the model was asked for a message."""
    return [
        request["messages"][0]["content"]
        for request in standin.requests(200)
        if [said["content"] for said in request["messages"] if said["role"] == "user"][-1:] == [content]
    ]


def shown(prompt: str) -> list[Json]:
    """Return the memories in a system prompt."""
    if OPENING not in prompt:
        return []
    inside = prompt[prompt.index(OPENING) + len(OPENING) : prompt.index(CLOSING)]
    return [json.loads(line) for line in inside.strip().splitlines()]


def shown_for(standin: Standin, content: str) -> list[Json]:
    """Return the memories that the model was shown for a message."""
    (prompt,) = system_prompts(standin, content)
    return shown(prompt)
