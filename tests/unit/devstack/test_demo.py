"""The demo tells what happens, and fails when the run does."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from devstack.demo import DemoError, Stage, direct_message, perform

RUN = "run-1"


def event(kind: str, run: str | None = RUN, **payload: Any) -> dict[str, Any]:
    return {"id": "1-0", "event_type": kind, "run_id": run, "payload": payload}


HAPPY = [
    event("message_created"),
    event("heartbeat", None),
    event("task_progress", "another run", text="not mine"),
    event("task_started"),
    event("task_progress", text="Hello "),
    event("task_progress", text="there."),
    event("task_completed"),
    event("run_completed"),
]


def api(events: list[dict[str, Any]], reply: str = "Hello there.") -> Callable[[httpx.Request], httpx.Response]:
    answers: dict[tuple[str, str], Any] = {
        ("POST", "/my/projects/"): {"id": "p"},
        ("POST", "/my/projects/p/agents/"): {"id": "a"},
        ("POST", "/my/projects/p/chat/sessions/"): {"id": "s"},
        ("POST", "/my/projects/p/chat/s/message/"): {"run_id": RUN, "status": "queued", "events_url": "/events?x=1"},
        ("GET", "/my/projects/p/chat/s/messages/"): {
            "items": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": reply}]
        },
        ("GET", f"/my/projects/p/runs/{RUN}"): {"usage": {"total_tokens": 12}},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/events":
            return httpx.Response(200, text="\n".join(map(json.dumps, events)))
        found = answers.get((request.method, request.url.path))
        return httpx.Response(404, text="no such path") if found is None else httpx.Response(200, json=found)

    return answer


def stage(answer: Callable[[httpx.Request], httpx.Response]) -> Stage:
    client = httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer))
    return Stage(client, "stand-in")


def test_the_text_flows_into_one_line_and_the_stored_reply_follows(capsys: pytest.CaptureFixture[str]) -> None:
    perform(stage(api(HAPPY)))
    shown = capsys.readouterr().out
    assert "agent            Hello there.\n  task_completed\n  run_completed\n" in shown
    assert "not mine" not in shown
    assert "heartbeat" not in shown
    assert "assistant        Hello there." in shown
    assert "total_tokens 12" in shown


@pytest.mark.parametrize(
    ("events", "reply", "reason"),
    [
        ([event("run_failed", error_code="model_error")], "x", "model_error"),
        ([event("run_cancelled")], "x", "run_cancelled"),
        ([event("task_started")], "x", "before the run did"),
        (HAPPY, "", "no reply is stored"),
    ],
)
def test_a_run_that_fails_fails_the_demo(events: list[dict[str, Any]], reply: str, reason: str) -> None:
    with pytest.raises(DemoError, match=reason):
        perform(stage(api(events, reply)))


def test_an_error_of_the_api_is_told_as_it_came() -> None:
    with pytest.raises(DemoError, match=r"POST /agents/ answered 404: no such path"):
        direct_message(stage(api([])))
