"""What the tests of orchestrated runs do again and again: let the model plan and work as told, and look at the run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.streams import Event

Json = dict[str, Any]

ORCHESTRATOR = "@orchestrator"
SECONDS = 20.0


@dataclass(frozen=True)
class Request:
    """A message without a target, and how the model behaves for it."""

    standin: Standin
    word: str = field(default_factory=lambda: uuid4().hex)

    @property
    def text(self) -> str:
        """The message."""
        return f"Request {self.word}"

    def instruction(self, task: str) -> str:
        """What the plan asks a task's agent for; in no other task's message."""
        return f"Do {task} of {self.word}."

    def plan(
        self, graph: Mapping[str, Sequence[str]], agents: Mapping[str, str] | None = None, **rule: Any
    ) -> "Request":
        """Let the planner answer with a graph of tasks, all of them for `helper` unless told otherwise."""
        tasks = [
            {
                "id": task,
                "agent": (agents or {}).get(task, "helper"),
                "instruction": self.instruction(task),
                "depends_on": list(needed),
                "why_this_agent": "It can.",
            }
            for task, needed in graph.items()
        ]
        plan: Json = {"rationale": "As told.", "tasks": tasks}
        self.standin.rules({"match": self.word, "plan": {"plan": plan, **rule} if rule else plan})
        return self

    def work(self, task: str, **rule: Any) -> "Request":
        """Let the model behave so for one task."""
        self.standin.rules({"match": self.instruction(task), **rule})
        return self

    def answer(self, **rule: Any) -> "Request":
        """Let the model behave so where it writes the answer: the message stands for itself only there."""
        self.standin.rules({"match": f"^{self.text}", **rule})
        return self

    def closing_calls(self) -> list[Json]:
        """Return the requests in which the model was asked for the answer, oldest first."""
        return [
            body
            for body in self.standin.requests(limit=200)
            if body["messages"][-1]["content"] == self.text and "response_format" not in body
        ]


def post(user: ApiClient, session: str, content: str, **more: Any) -> httpx.Response:
    """Send a message without a target, whatever the answer."""
    headers = more.pop("headers", {})
    return user.request(
        "POST", f"chat/{session}/message/", json={"content": content, **more}, headers=headers, timeout=60
    )


def send(user: ApiClient, session: str, request: Request | str, **more: Any) -> Json:
    """Send a message without a target, which must be accepted."""
    response = post(user, session, request if isinstance(request, str) else request.text, **more)
    assert response.status_code == 202, response.text
    body: Json = response.json()
    return body


def events_of(user: ApiClient, accepted: Json, *until: str) -> list[Event]:
    """Return the events of a message until one of these types; by default until its run's end."""
    with user.events(accepted["events_url"]) as stream:
        events = stream.until(*(until or ("run_completed", "run_failed", "run_cancelled")), within=60)
    return [event for event in events if event.body["run_id"] == accepted["run_id"]]


def types(events: Iterable[Event]) -> list[str]:
    """Return the types of events without those that speak of agents and of pieces of text."""
    return [
        event.type
        for event in events
        if event.type not in {"agent_status_changed", "task_progress", "context_retrieved"}
    ]


def own(events: Iterable[Event], kind: str) -> list[Json]:
    """Return what was told of the orchestrator's own tasks."""
    return [event.payload for event in events if event.type == kind and event.payload.get("agent_name") == ORCHESTRATOR]


def replies(user: ApiClient, session: str) -> list[tuple[str | None, str]]:
    """Return who answered in a session, and what."""
    return [(each["agent_name"], each["content"]) for each in user.messages(session, role="assistant")]


def configure(user: ApiClient, **config: Any) -> None:
    """Say how the project plans."""
    answer = user.put("orchestrator/config/", config)
    assert answer.status_code == 200, answer.text
