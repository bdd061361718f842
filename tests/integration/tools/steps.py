"""What the tests of tools do again and again: let an agent use them, and be the client that carries them out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.integration.approvals.steps import (
    Json,
    approvals_of,
    calls_of,
    confirmed,
    make_agent,
    marked,
    write,
)
from tests.support.api import ApiClient
from tests.support.waiting import eventually


def put_files(user: ApiClient, **contents: str) -> None:
    """Have an agent of its own write files, with its owner's yes to all at once."""
    name = "writer"
    if not user.get("agents/", limit=100).json()["items"] or name not in {
        agent["name"] for agent in user.get("agents/", limit=100).json()["items"]
    }:
        make_agent(user, name)
    session = user.make_session()["id"]
    content = "".join(write(path, text) for path, text in contents.items())
    accepted = user.send(session, f"{content}[then][say=written]", name)
    wanted = len(contents)
    found = eventually(
        lambda: _all_of(approvals_of(user, run_id=accepted["run_id"], status="pending"), wanted), "the questions"
    )
    answer = user.post("approvals/batch/", {"ids": [each["id"] for each in found], "decision": "approve"})
    assert answer.status_code == 200, answer.text
    user.wait_for_run(accepted)


def _all_of(found: list[Json], count: int) -> list[Json]:
    return found if len(found) == count else []


def send(user: ApiClient, content: str, agent: str = "helper") -> Json:
    """Send a message in a session of its own."""
    return user.send(user.make_session()["id"], marked(content), agent)


def answered(user: ApiClient, content: str, agent: str = "helper") -> Json:
    """Send a message, wait for its answer, and return its run."""
    accepted = send(user, content, agent)
    return user.wait_for_run(accepted)


def last_answer(user: ApiClient, run: Json) -> str:
    """Return the text that a run ended with."""
    messages = user.messages(run["session_id"], role="assistant")
    return str(messages[-1]["content"])


def outcomes(calls: Sequence[Json]) -> list[str]:
    """Return the error code of each call, or its status where there is none."""
    return [((call["result"] or {}).get("error") or {}).get("code") or call["status"] for call in calls]


# -- the client --------------------------------------------------------------------------------------------------


def use_client(user: ApiClient, execution: str = "client") -> ApiClient:
    """Let tools of the default project be carried out by its owner's client, or by the server again."""
    (project,) = [each for each in user.get("/my/projects/").json()["items"] if each["is_default"]]
    body = {"name": project["name"], "description": project["description"], "tool_execution": execution}
    answer = user.put(f"/my/projects/{project['id']}/", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["tool_execution"] == execution
    return user


def post_result(user: ApiClient, call: str, output: Any = None, **more: Any) -> httpx.Response:
    """Answer a tool call with an output, whatever comes of it."""
    body = {"output": output} if output is not None else {}
    return user.post(f"tool-calls/{call}/result/", body | more)


def result_taken(user: ApiClient, call: str, output: Any = None, **more: Any) -> Json:
    """Answer a tool call, which must be taken, and return the call."""
    answer = post_result(user, call, output, **more)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


@dataclass(frozen=True)
class AtClient:
    """A run that waits for its owner's client."""

    user: ApiClient
    accepted: Json
    requests: list[Json]
    """The payloads of its `tool_request` events."""

    @property
    def run_id(self) -> str:
        return str(self.accepted["run_id"])

    @property
    def id(self) -> str:
        """Of the only call."""
        (request,) = self.requests
        return str(request["tool_call_id"])

    @property
    def ids(self) -> list[str]:
        return [request["tool_call_id"] for request in self.requests]

    def call(self, call_id: str | None = None) -> Json:
        """Return the call as it is now."""
        answer = self.user.get(f"tool-calls/{call_id or self.id}/")
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body

    def completed(self) -> Json:
        return self.user.wait_for_run(self.run_id)


def at_client(user: ApiClient, content: str, *, agent: str = "helper", count: int = 1) -> AtClient:
    """Send a message and wait until its run waits for the client, which has so many calls to carry out."""
    accepted = send(user, content, agent)
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("task_waiting")
    assert events[-1].payload["reason"] == "client_tool", events[-1].payload
    requests = [event.payload for event in events if event.type == "tool_request"]
    assert len(requests) == count
    return AtClient(user, accepted, requests)


def approved(user: ApiClient, run_id: str) -> Json:
    """Say yes to the only question of a run, when it is there."""
    (question,) = eventually(lambda: approvals_of(user, run_id=run_id, status="pending"), "the question")
    return confirmed(user, question["id"])


def calls_when(user: ApiClient, run_id: str, statuses: list[str]) -> list[Json]:
    """Wait until the calls of a run have these statuses, and return them."""

    def there() -> list[Json]:
        calls = calls_of(user, run_id)
        return calls if [call["status"] for call in calls] == statuses else []

    return eventually(there, f"calls that are {statuses}", every=0.03)
