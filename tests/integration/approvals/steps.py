"""What the tests of approvals do again and again: let an agent ask, answer it, and look at what came of it."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from tests.integration.runs.steps import story
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.streams import Event
from tests.support.waiting import PATIENCE, eventually

Json = dict[str, Any]

TOOLS = ["read_file", "write_file", "list_directory"]
TRUSTED = "Makefile"
"""A file that other programs execute: to write it is HIGH, to write another one is MEDIUM."""


# -- what the model is told to do --------------------------------------------------------------------------------


def tool(name: str, **arguments: Any) -> str:
    """A call of a tool, as the stand-in is told of it."""
    return f"[tool={name} {json.dumps(arguments)}]"


def write(path: str = "notes.txt", content: str = "text", mode: str = "overwrite") -> str:
    """A call that its owner is asked for."""
    return tool("write_file", path=path, content=content, mode=mode)


def append(path: str, content: str) -> str:
    """A call that leaves a trace each time it is carried out."""
    return write(path, content, "append")


def read(path: str) -> str:
    """A call that nobody is asked for."""
    return tool("read_file", path=path)


def marked(content: str) -> str:
    """Return a message that no other one is like, so that what the model was sent for it can be found."""
    return f"{content} ({uuid4().hex})"


# -- asking ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A run that waits for its owner."""

    user: ApiClient
    accepted: Json
    session: str
    content: str
    approvals: Sequence[Json]
    """Open ones, oldest first."""

    @property
    def run_id(self) -> str:
        return str(self.accepted["run_id"])

    @property
    def id(self) -> str:
        """Of the only approval."""
        (approval,) = self.approvals
        return str(approval["id"])

    @property
    def ids(self) -> list[str]:
        return [approval["id"] for approval in self.approvals]

    def completed(self) -> Json:
        """Wait until the run is answered, and return it."""
        return self.user.wait_for_run(self.run_id)

    def now(self, approval_id: str | None = None) -> Json:
        """Return an approval as it is now."""
        return approval_of(self.user, approval_id or self.id)


def make_agent(user: ApiClient, name: str = "helper", **config: Any) -> Json:
    """Make an agent that may use the tools."""
    return user.make_agent(name, tools=TOOLS, **config)


def ask(user: ApiClient, content: str, *, session: str | None = None, agent: str = "helper", count: int = 1) -> Asked:
    """Send a message and wait until its run waits with so many open approvals."""
    session = session or user.make_session()["id"]
    content = marked(content)
    return asked(user, user.send(session, content, agent), session, content, count)


def asked(user: ApiClient, accepted: Json, session: str, content: str, count: int = 1) -> Asked:
    """Wait until a run waits for its owner, who has so many questions to answer."""
    with user.events(accepted["events_url"]) as stream:
        while (event := stream.until("task_waiting")[-1]).body["run_id"] != accepted["run_id"]:
            pass
    assert event.payload["reason"] == "approval"
    found = approvals_of(user, run_id=accepted["run_id"], status="pending")
    assert len(found) == count
    return Asked(user, accepted, session, content, found)


# -- answering ---------------------------------------------------------------------------------------------------


def confirm(user: ApiClient, approval_id: str, decision: str = "approve", **more: Any) -> httpx.Response:
    """Answer, whatever comes of it."""
    return user.post(f"approvals/{approval_id}/confirm/", {"decision": decision, **more})


def confirmed(user: ApiClient, approval_id: str, decision: str = "approve", **more: Any) -> Json:
    """Answer, which must be taken, and return the approval."""
    answer = confirm(user, approval_id, decision, **more)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def next_question(user: ApiClient, run_id: str, *, after: str) -> Json:
    """Wait for what a run asks after an approval, and return it."""

    def asked_next() -> list[Json]:
        return [each for each in approvals_of(user, run_id=run_id, status="pending") if each["id"] > after]

    return eventually(asked_next, "the next question", within=PATIENCE, every=0.03)[0]


# -- looking -----------------------------------------------------------------------------------------------------


def approval_of(user: ApiClient, approval_id: str) -> Json:
    """Return one approval."""
    answer = user.get(f"approvals/{approval_id}/")
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def approvals_of(user: ApiClient, **wanted: Any) -> list[Json]:
    """Return approvals, oldest first."""
    items: list[Json] = user.get("approvals/", limit=100, **wanted).json()["items"]
    return items


def calls_of(user: ApiClient, run_id: str) -> list[Json]:
    """Return the tool calls of a run in the order in which the model asked for them."""
    items: list[Json] = user.get("tool-calls/", limit=100, run_id=run_id).json()["items"]
    return sorted(items, key=lambda call: (call["turn"], call["position"]))


def statuses(rows: Sequence[Json]) -> list[str]:
    """Return the statuses of rows."""
    return [row["status"] for row in rows]


def content_of(user: ApiClient, path: str, agent: str = "helper") -> str | None:
    """Let an agent read a file, which it asks nobody for; `None`: there is none."""
    run_id = user.answered(user.make_session()["id"], read(path), agent)["run_id"]
    (call,) = calls_of(user, run_id)
    if call["status"] == "succeeded":
        return str(call["result"]["output"]["content"])
    assert call["result"]["error"]["code"] == "not_found", call
    return None


def requests_for(standin: Standin, content: str) -> list[Json]:
    """Return what the model was sent for a message, turn by turn."""
    return [
        request
        for request in standin.requests(200)
        if [said["content"] for said in request["messages"] if said["role"] == "user"][-1:] == [content]
    ]


def told(standin: Standin, content: str) -> list[Json]:
    """Return the results that the model was told last, in their order."""
    request = requests_for(standin, content)[-1]
    return [json.loads(said["content"]) for said in request["messages"] if said["role"] == "tool"]


def error_codes(results: Sequence[Json]) -> list[str | None]:
    """Return the codes of results as the model was told them; `None` for a success."""
    return [None if result["ok"] else result["error"]["code"] for result in results]


def plot(events: Iterable[Event], run_id: str) -> list[str]:
    """Return the types of a run's events, pieces of text that follow each other as one."""
    return [kind for kind, _ in itertools.groupby(story(events, run_id))]


def only(events: Iterable[Event], kind: str) -> Event:
    """Return the one event of a type."""
    (event,) = [each for each in events if each.type == kind]
    return event
