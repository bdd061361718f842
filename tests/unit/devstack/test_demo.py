"""The demo tells what happens, decides what it is asked, and fails when the run does."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from devstack.demo.__main__ import perform, standin_of
from devstack.demo.acts.approved_file import CONTENT, ORDER, PATH, QUESTION, a_file_that_needs_your_yes
from devstack.demo.acts.conversation import direct_message
from devstack.demo.acts.refused_command import ORDER as DANGEROUS_ORDER
from devstack.demo.acts.refused_command import REASON, a_command_that_you_refuse
from devstack.demo.stage import DemoError, Stage
from devstack.standin.app import create_app

RUN = "run-1"
Json = dict[str, Any]


def event(kind: str, run: str | None = RUN, **payload: Any) -> Json:
    usual: Json = {"task_started": {"agent_name": "echo"}, "task_completed": {"agent_name": "echo"}}
    usual["run_completed"] = {"status": "completed"}
    told = {**usual.get(kind, {}), **payload}
    return {"id": "1-0", "event_type": kind, "run_id": run, "task_id": "task-1", "payload": told}


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


class Api:
    """The API, with the events of each run and the reply to each message."""

    def __init__(self, *runs: tuple[list[Json], str]) -> None:
        self.runs = list(runs)
        self.replies: list[str] = []
        self.decisions: list[tuple[str, Json]] = []
        self.agents: list[Json] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        found: Json = {}
        match request.method, request.url.path.removeprefix("/my/projects/").strip("/").split("/"):
            case "POST", [""]:
                found = {"id": "p"}
            case "POST", ["p", "agents"]:
                self.agents.append(body)
                found = {"id": "a"}
            case "POST", ["p", "approvals", approval, "confirm"]:
                self.decisions.append((approval, body))
                found = {"id": approval}
            case method, ["p", "chat", *path]:
                found = self._chat(method, path)
            case "GET", ["p", "runs", _]:
                found = {"usage": {"total_tokens": 12}}
            case "GET", ["events"]:
                return httpx.Response(200, text="\n".join(map(json.dumps, self.events)))
        return httpx.Response(200, json=found) if found else httpx.Response(404, text="no such path")

    def _chat(self, method: str, path: list[str]) -> Json:
        match method, path:
            case "POST", ["sessions"]:
                return {"id": "s"}
            case "POST", ["s", "message"]:
                self.events, reply = self.runs.pop(0)
                self.replies.append(reply)
                return {"run_id": RUN, "status": "queued", "events_url": "/my/projects/events?x=1"}
        return {"items": [{"role": "assistant", "content": each} for each in self.replies]}


def stage(answer: Callable[[httpx.Request], httpx.Response], standin: str = "") -> Stage:
    client = httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer))
    return Stage(client, "stand-in", standin=standin)


def show(api: Api, act: Callable[[Stage], None], standin: str = "") -> None:
    perform(stage(api, standin), (act,))


@pytest.fixture(scope="module")
def standin() -> Iterator[str]:
    """A stand-in model, whose rules the acts write."""
    server = make_server("127.0.0.1", 0, create_app({}), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


# A conversation -----------------------------------------------------------------------------------------------------


def test_the_text_flows_into_one_line_and_the_stored_reply_follows(capsys: pytest.CaptureFixture[str]) -> None:
    show(Api((HAPPY, "Hello there.")), direct_message)
    shown = capsys.readouterr().out
    told = [line.split(maxsplit=1) for line in shown.splitlines()]
    assert told[told.index(["echo", "Hello there."]) + 1 :][:2] == [
        ["task_completed", "echo"],
        ["run_completed", "completed"],
    ]
    assert "not mine" not in shown
    assert "heartbeat" not in shown
    assert "assistant            Hello there." in shown
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
def test_a_run_that_fails_fails_the_demo(events: list[Json], reply: str, reason: str) -> None:
    with pytest.raises(DemoError, match=reason):
        show(Api((events, reply)), direct_message)


def test_an_error_of_the_api_is_told_as_it_came() -> None:
    with pytest.raises(DemoError, match=r"POST /agents/ answered 404: no such path"):
        direct_message(stage(Api()))


# A file that needs a yes --------------------------------------------------------------------------------------------


def asked(tool: str, **arguments: Any) -> Json:
    told = {"tool": tool, "arguments": arguments, "risk": "medium", "reasons": ["writes a file"]}
    return event("approval_required", approval_id="ap", type="tool", **told)


WROTE = [
    asked("write_file", path=PATH, content=CONTENT),
    event("task_waiting", reason="approval", agent_name="writer"),
    event("approval_resolved", status="approved", reason="demo"),
    event("tool_result", tool="write_file", status="succeeded"),
    event("run_completed"),
]
READ = [event("tool_result", tool="read_file", status="succeeded"), event("run_completed")]
TALKED = [event("run_completed")]


@pytest.mark.parametrize("scripted", [True, False])
def test_a_file_is_approved_and_read_back_without_a_question(
    capsys: pytest.CaptureFixture[str], standin: str, scripted: bool
) -> None:
    api = Api((WROTE, "Done."), (READ, f"The file says: {CONTENT}"))
    show(api, a_file_that_needs_your_yes, f"{standin}/_control" if scripted else "")
    assert api.decisions == [("ap", {"decision": "approve", "reason": "demo"})]
    assert api.agents[0]["tools"] == ["read_file", "write_file", "list_directory"]
    shown = capsys.readouterr().out
    for line in (
        f'approval_required    write_file(path="{PATH}", content="{CONTENT}"), risk medium',
        "because it writes a file",
        "you                  approve: demo",
        "task_waiting         for approval",
        "approval_resolved    approved: demo",
        "tool_result          write_file succeeded",
        f"you                  {QUESTION}",
        "so                   the file is there, and nobody was asked to read it",
    ):
        assert line in shown


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([(TALKED, "I have no pen.")], "nobody was asked"),
        ([([asked("write_file"), *TALKED], "No.")], "without write_file"),
        ([(WROTE, "Done."), (TALKED, "I forgot.")], "without read_file"),
        ([(WROTE, "Done."), (READ, "It says a promise.")], "does not quote it"),
    ],
)
def test_a_real_model_that_does_otherwise_is_told_plainly_and_a_stand_in_fails(
    capsys: pytest.CaptureFixture[str], standin: str, runs: list[tuple[list[Json], str]], said: str
) -> None:
    show(Api(*runs), a_file_that_needs_your_yes)
    assert said in capsys.readouterr().out
    with pytest.raises(DemoError):
        show(Api(*runs), a_file_that_needs_your_yes, f"{standin}/_control")


# A command that is refused ------------------------------------------------------------------------------------------

REFUSED = [
    asked("execute_command", command="rm", args=["-r", "notes"]),
    event("approval_resolved", status="rejected", reason=REASON),
    event("tool_result", tool="execute_command", status="rejected", error_code="rejected"),
    event("run_completed"),
]


def test_a_command_is_refused_with_a_reason(capsys: pytest.CaptureFixture[str], standin: str) -> None:
    api = Api((REFUSED, f"I was told: {REASON}"))
    show(api, a_command_that_you_refuse, f"{standin}/_control")
    assert api.decisions == [("ap", {"decision": "reject", "reason": REASON})]
    shown = capsys.readouterr().out
    assert 'execute_command(command="rm", args=["-r", "notes"])' in shown
    assert "tool_result          execute_command rejected" in shown
    assert "nothing was run, and the agent knows why" in shown


def test_a_reason_that_the_stand_in_was_not_told_fails_the_demo(standin: str) -> None:
    with pytest.raises(DemoError, match="not told the reason"):
        show(Api((REFUSED, "Fine.")), a_command_that_you_refuse, f"{standin}/_control")


def test_a_real_model_that_runs_no_command_is_told_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    show(Api((TALKED, "I would rather not.")), a_command_that_you_refuse)
    assert "nobody was asked" in capsys.readouterr().out


# The stand-in -------------------------------------------------------------------------------------------------------


def completed(standin: str, messages: list[Json]) -> Json:
    body = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": {"name": "any"}}]}
    answer = httpx.post(f"{standin}/v1/chat/completions", json=body, trust_env=False).raise_for_status()
    message: Json = answer.json()["choices"][0]["message"]
    return message


@pytest.mark.parametrize(
    ("act", "message", "tool", "result", "reply"),
    [
        (a_file_that_needs_your_yes, ORDER, "write_file", {"size": 1}, "It is written."),
        (
            a_file_that_needs_your_yes,
            QUESTION,
            "read_file",
            {"output": {"content": CONTENT}},
            f"The file says: {CONTENT}",
        ),
        (a_command_that_you_refuse, DANGEROUS_ORDER, "execute_command", {"error": {"detail": REASON}}, REASON),
    ],
)
def test_the_stand_in_is_told_what_to_do_with_each_message(
    standin: str, act: Callable[[Stage], None], message: str, tool: str, result: Json, reply: str
) -> None:
    httpx.delete(f"{standin}/_control/rules", trust_env=False)
    with pytest.raises(DemoError):
        show(Api((TALKED, "x")), act, f"{standin}/_control")
    asked: list[Json] = [{"role": "user", "content": message}]
    turn = completed(standin, asked)
    assert [call["function"]["name"] for call in turn["tool_calls"]] == [tool]
    asked += [turn, {"role": "tool", "tool_call_id": turn["tool_calls"][0]["id"], "content": json.dumps(result)}]
    assert reply in completed(standin, asked)["content"]


def test_no_message_of_an_act_has_a_directive() -> None:
    assert not {"[", "]"} & set(ORDER + QUESTION + DANGEROUS_ORDER)


def test_the_stand_in_is_known_by_its_key() -> None:
    ours = {"OPENAI_API_KEY": "stand-in", "MODEL_URL": "http://127.0.0.1:1/v1"}
    assert standin_of(ours) == "http://127.0.0.1:1/_control"
    assert standin_of({**ours, "OPENAI_API_KEY": "sk-1"}) == ""


def test_the_text_of_each_speaker_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    def of(task: str, kind: str, **payload: Any) -> Json:
        return event(kind, RUN, **payload) | {"task_id": task}

    both = [
        of("1", "task_started", agent_name="rail"),
        of("2", "task_started", agent_name="air"),
        of("1", "task_progress", text="By "),
        of("2", "task_progress", text="By "),
        of("1", "task_progress", text="train."),
        of("2", "task_progress", text="plane."),
        of("1", "task_completed", agent_name="rail"),
        of("2", "task_completed", agent_name="air"),
        event("run_completed"),
    ]
    show(Api((both, "Both.")), direct_message)
    told = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["rail", "By train."] in told
    assert ["air", "By plane."] in told
