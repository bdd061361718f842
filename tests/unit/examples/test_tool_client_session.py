"""The example client follows a session over real HTTP: it asks, carries calls out once, and survives lost answers."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack.directory import ROOT
from docs.examples import tool_client
from tests.unit.examples.conftest import Place
from tests.unit.examples.server import DROP, GAP, HEARTBEAT, PROJECT, SESSION, TOKEN, Api, event, serve

Run = Callable[..., int]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def run(api: Api, place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the client until the session is gone; `typed` is what the person at the terminal types."""
    monkeypatch.setattr(tool_client, "FIRST_PAUSE", 0.001)
    monkeypatch.delenv("TOKEN", raising=False)
    with serve(api) as url:

        def started(*options: str, typed: str = "", token: str = TOKEN, session: str = SESSION) -> int:
            monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
            api.seen.clear()
            api.answered.clear()
            given = ["--api", url, "--token", token, "--project", PROJECT, "--directory", str(place.inside)]
            return tool_client.main([*given, *(["--session", session] if session else []), *options])

        yield started


def bodies(api: Api, end: str) -> list[Any]:
    return [each.body for each in api.sent("POST", end)]


def append(api: Api, status: str = "requested") -> str:
    """A call of which one can see how often it was carried out."""
    return api.add_call("write_file", {"path": "log", "content": "x", "mode": "append"}, status=status)


# Approvals ----------------------------------------------------------------------------------------------------------


def test_a_person_is_shown_the_call_and_its_risk_and_says_yes(api: Api, run: Run, capsys: Any) -> None:
    approval = api.add_approval("write_file", {"path": "a", "content": "hello"}, status="to come")
    told = api.required(approval)
    api.streams = [[HEARTBEAT, api.caught_up, lambda: api.approvals[approval].update(status="pending"), told]]
    assert run(typed="y\n") == tool_client.GONE
    assert bodies(api, "/confirm/") == [{"decision": "approve"}]
    assert api.approvals[approval]["status"] == "approved"
    shown = capsys.readouterr().out
    for line in ("writer asks for write_file, risk medium", "because it writes a", '"content": "hello"'):
        assert line in shown


def test_a_no_and_its_reason_are_sent(api: Api, run: Run) -> None:
    for typed, decision in (
        ("n\nnot this one\n", {"decision": "reject", "reason": "not this one"}),
        ("maybe\n\nN\n\n", {"decision": "reject"}),
    ):
        approval = api.add_approval("execute_command", {"command": "rm"})
        api.streams = [[HEARTBEAT, api.required(approval)]]
        run(typed=typed)
        assert bodies(api, "/confirm/") == [decision]
        assert api.approvals.pop(approval)["status"] == "rejected"


def test_yes_approves_everything_without_asking(api: Api, run: Run) -> None:
    for _ in range(3):
        api.add_approval()
    api.streams = [[HEARTBEAT]]
    run("--yes")
    assert bodies(api, "/confirm/") == [{"decision": "approve", "reason": "--yes"}] * 3


def test_a_plan_is_shown_with_all_of_its_tasks_before_it_is_asked_about(api: Api, run: Run, capsys: Any) -> None:
    approval = api.add_approval(status="to come")
    size = {"tool": None, "arguments": {"tasks": 1}, "agent_name": "@orchestrator", "reasons": ["It is large."]}
    task = {"id": "a", "agent_name": "writer", "instruction": "Remove everything.", "depends_on": [], "samples": 0}
    api.approvals[approval] |= {"type": "plan", "payload": {**size, "plan": {"tasks": [task]}}}
    told = event("approval_required", approval_id=approval, type="plan", arguments_complete=True, **size)
    api.streams = [[HEARTBEAT, api.caught_up, lambda: api.approvals[approval].update(status="pending"), told]]
    run(typed="y\n")
    shown = capsys.readouterr().out
    assert "@orchestrator asks for a plan" in shown
    assert "because: It is large." in shown
    assert all(text in shown for text in ("writer", "Remove everything."))
    assert bodies(api, "/confirm/") == [{"decision": "approve"}]


def test_without_anybody_to_ask_approvals_are_left_to_others(api: Api, run: Run, capsys: Any) -> None:
    api.streams = [[HEARTBEAT, api.required(api.add_approval())]]
    assert run() == tool_client.GONE
    assert bodies(api, "/confirm/") == []
    assert "nobody can answer here" in capsys.readouterr().out


def test_a_decision_that_came_too_late_is_told(api: Api, run: Run, capsys: Any) -> None:
    api.streams = [[HEARTBEAT, api.required(api.add_approval(status="expired"))]]
    run("--yes")
    assert "It is decided already." in capsys.readouterr().out


def test_nobody_is_asked_about_half_of_a_text(api: Api, run: Run, capsys: Any) -> None:
    approval = api.add_approval("write_file", {"path": "a", "content": "the whole of it"}, status="to come")
    cut = {"arguments": {"path": "a", "content": "the who"}, "arguments_complete": False}
    api.streams = [[HEARTBEAT, api.required(approval, **cut)]]
    run(typed="n\n\n")
    assert "the whole of it" in capsys.readouterr().out


def test_what_a_model_wrote_cannot_play_with_the_terminal(api: Api, run: Run, capsys: Any) -> None:
    nasty = "\x1b[2J\r\u202e\u200bz\x9b\n  allow it? [y/n] y"
    api.add_approval("write_file", {"path": nasty, nasty: nasty})
    api.streams = [[HEARTBEAT, event("message_created", role="assistant", content=f"привет {nasty}")]]
    run(typed="n\n\n")
    shown = capsys.readouterr().out
    assert "привет" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert sum(line.startswith("  allow it?") for line in shown.splitlines()) == 1  # the client's own


def test_what_was_typed_before_the_question_is_no_answer_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, terminal = os.openpty()

    class Screen(io.StringIO):
        """Shows the question to a person, who then says no."""

        def write(self, text: str) -> int:
            if "allow it?" in text:
                os.write(keyboard, b"n\n\n")
            return super().write(text)

    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", Screen())
        os.write(keyboard, b"y\n")
        assert tool_client.asked() == {"decision": "reject"}
    os.close(keyboard)


# Calls --------------------------------------------------------------------------------------------------------------


def test_a_call_is_carried_out_and_its_result_is_sent(api: Api, run: Run, place: Place) -> None:
    call = api.add_call("write_file", {"path": "a/b", "content": "hello"}, status="requested")
    api.streams = [[HEARTBEAT, api.caught_up, api.starts(call), api.requested(call)]]
    run()
    assert (place.inside / "a" / "b").read_text() == "hello"
    output = {"path": "a/b", "size": 5, "created": True}
    assert api.results == {call: {"digest": api.tool_calls[call]["digest"], "output": output}}


def test_a_failure_is_a_result_too(api: Api, run: Run) -> None:
    call = api.add_call("read_file", {"path": "../x"})
    api.streams = [[HEARTBEAT]]
    run()
    assert api.results[call]["error"]["code"] == "invalid_path"


def test_a_call_is_carried_out_once_however_often_it_is_told_of(api: Api, run: Run, place: Place) -> None:
    call = append(api)
    told = api.requested(call)
    api.streams = [
        [HEARTBEAT, api.caught_up, api.starts(call), told, told],
        [HEARTBEAT, api.starts(call), told],
        [HEARTBEAT, api.starts(call), GAP, told],
    ]
    run()
    assert (place.inside / "log").read_text() == "x"
    assert len(api.sent("POST", "/result/")) == 1


def test_a_result_whose_answer_is_lost_is_sent_again_and_not_made_again(api: Api, run: Run, place: Place) -> None:
    append(api, "running")
    api.faults = {"/result/": [503, DROP, 429]}
    api.streams = [[HEARTBEAT]]
    run()
    sent = bodies(api, "/result/")
    assert len(sent) == 4
    assert all(body == sent[0] for body in sent)
    assert (place.inside / "log").read_text() == "x"


def test_a_result_that_could_not_be_sent_is_sent_once_the_api_is_back(api: Api, run: Run, place: Place) -> None:
    call = append(api)
    api.faults = {"/result/": [503] * tool_client.ATTEMPTS}
    before, told = event("task_started"), api.requested(call)
    api.streams = [[HEARTBEAT, api.caught_up, before, api.starts(call), told], [HEARTBEAT, told]]
    run()
    assert len(api.sent("POST", "/result/")) == tool_client.ATTEMPTS + 1
    assert (place.inside / "log").read_text() == "x"
    # The event was not seen to, so the stream was asked for it again.
    assert api.sent("GET", "/events/")[1].headers["Last-Event-Id"] == before["id"]


def test_a_result_that_the_api_does_not_take_becomes_an_error(api: Api, run: Run) -> None:
    call = append(api, "running")
    api.faults = {"/result/": [413]}
    api.streams = [[HEARTBEAT]]
    run()
    assert api.results[call]["error"]["code"] == "client_error"


@pytest.mark.parametrize(
    "stored",
    [{"status": "awaiting_approval"}, {"status": "requested"}, {"status": "expired"}, {"execution": "server"}],
)
def test_only_a_call_that_waits_for_the_client_is_carried_out(
    api: Api, run: Run, place: Place, stored: dict[str, str]
) -> None:
    call = append(api, "running")
    api.tool_calls[call] |= stored
    api.streams = [[HEARTBEAT, api.requested(call)]]
    run()
    assert list(place.inside.iterdir()) == []
    assert api.results == {}


def test_a_call_that_is_not_the_one_that_was_told_of_is_not_carried_out(api: Api, run: Run, place: Place) -> None:
    call = append(api)
    told = api.requested(call, digest="0" * 64)
    api.streams = [[HEARTBEAT, api.caught_up, api.starts(call), told]]
    run()
    assert list(place.inside.iterdir()) == []
    assert api.results[call]["error"]["code"] == "arguments_changed"


def test_a_call_whose_arguments_are_not_those_of_its_digest_is_not_carried_out(
    api: Api, run: Run, place: Place
) -> None:
    call = append(api, "running")
    api.tool_calls[call]["arguments"]["content"] = "something else"
    api.streams = [[HEARTBEAT]]
    run()
    assert list(place.inside.iterdir()) == []
    assert api.results[call]["error"]["code"] == "arguments_changed"


def test_commands_are_run_only_if_they_are_allowed(api: Api, run: Run, place: Place) -> None:
    for options, made in (((), False), (("--allow-commands",), True)):
        call = api.add_call("execute_command", {"command": "touch", "args": ["made"]})
        api.streams = [[HEARTBEAT]]
        run(*options)
        assert (place.inside / "made").exists() == made
        assert ("output" in api.results[call]) == made


# The stream ---------------------------------------------------------------------------------------------------------


def test_what_waited_before_the_client_came_is_found_page_by_page(api: Api, run: Run, place: Place) -> None:
    for number in range(3):
        api.add_call("write_file", {"path": str(number), "content": ""})
    api.add_call("write_file", {"path": "other", "content": ""}, execution="server")
    api.streams = [[HEARTBEAT]]
    run()
    assert sorted(each.name for each in place.inside.iterdir()) == ["0", "1", "2"]
    assert all(each.query["session_id"] == SESSION for each in api.sent("GET", "/tool-calls/"))


def test_the_stream_goes_on_where_it_broke(api: Api, run: Run) -> None:
    first, last = event("task_started"), event("task_started")
    api.streams = [[HEARTBEAT, first], [HEARTBEAT, last], [HEARTBEAT]]
    run()
    cursors = [each.headers.get("Last-Event-Id") for each in api.sent("GET", "/events/")]
    assert cursors == [None, first["id"], last["id"], last["id"]]
    # Without a gap there is no reason to ask for what waits.
    assert len(api.sent("GET", "/approvals/")) == 1


def test_after_a_gap_what_waits_is_asked_for_again(api: Api, run: Run, place: Place) -> None:
    call = append(api)
    api.streams = [[HEARTBEAT, api.caught_up, event("task_started"), api.starts(call)], [HEARTBEAT, GAP]]
    run()
    assert (place.inside / "log").read_text() == "x"


def test_a_stream_that_broke_before_its_first_event_begins_anew(api: Api, run: Run, place: Place) -> None:
    call = append(api)
    api.streams = [[HEARTBEAT, api.caught_up, api.starts(call)], [HEARTBEAT]]
    run()
    assert (place.inside / "log").read_text() == "x"


def test_a_stream_that_is_refused_for_now_is_asked_for_again(api: Api, run: Run) -> None:
    api.faults = {"/events/": [503, 429, DROP]}
    api.streams = [[HEARTBEAT]]
    assert run() == tool_client.GONE
    assert len(api.sent("GET", "/events/")) == 5


def test_what_is_not_known_is_skipped_and_the_rest_is_told(api: Api, run: Run, capsys: Any) -> None:
    told = [
        event("something_new", x=1),
        event("message_created", role="assistant", content="Done."),
        event("approval_resolved", status="approved"),
        event("run_failed", error={"error_code": "model_error"}),
    ]
    api.streams = [[HEARTBEAT, *told]]
    run()
    shown = capsys.readouterr().out
    assert "assistant: Done." in shown
    assert "approval_resolved: approved" in shown
    assert "model_error" in shown


# Starting and ending ------------------------------------------------------------------------------------------------


def test_without_a_session_one_is_made(api: Api, run: Run, capsys: Any) -> None:
    run(session="")
    assert bodies(api, "/chat/sessions/") == [{}]
    assert f"session {SESSION}" in capsys.readouterr().out


def test_a_session_that_cannot_be_made_is_told(api: Api, run: Run, capsys: Any) -> None:
    api.faults = {"/sessions/": [409]}
    assert run(session="") == tool_client.FAILED
    assert "no session was made: 409" in capsys.readouterr().err


def test_a_project_whose_tools_run_on_the_server_is_told_of(api: Api, run: Run, capsys: Any) -> None:
    api.tool_execution = "server"
    run()
    assert "run on the server" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "token", "code", "said"),
    [
        ({}, "wrong", tool_client.TOKEN_REFUSED, "does not accept the token"),
        ({PROJECT + "/": [404]}, TOKEN, tool_client.GONE, "the project answered 404"),
        ({PROJECT + "/": [403]}, TOKEN, tool_client.FAILED, "the project answered 403"),
        ({PROJECT + "/": [503] * tool_client.ATTEMPTS}, TOKEN, tool_client.FAILED, "failed 8 times: 503"),
        ({"/events/": [422]}, TOKEN, tool_client.FAILED, "the session answered 422"),
        ({"/events/": [401]}, TOKEN, tool_client.TOKEN_REFUSED, "does not accept the token"),
    ],
)
def test_each_end_has_its_code_and_its_line(
    api: Api, run: Run, capsys: Any, fault: dict[str, list[int]], token: str, code: int, said: str
) -> None:
    api.faults = fault
    assert run(token=token) == code
    assert said in capsys.readouterr().err


def test_the_token_is_not_carried_elsewhere(api: Api, run: Run, capsys: Any) -> None:
    api.faults = {PROJECT + "/": [307]}
    assert run() == tool_client.FAILED
    assert "answered 307" in capsys.readouterr().err
    assert len(api.seen) == 1


def program(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs" / "examples" / "tool_client.py"), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_program_explains_itself() -> None:
    shown = program("--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in ("--api", "--directory", "--allow-commands", "--yes"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "required"),
        (["--api", "ftp://x", "--project", PROJECT, "--directory", "."], "--api is an address"),
        (["--api", "http://x", "--project", "1", "--directory", "."], "invalid UUID"),
        (["--api", "http://x", "--project", PROJECT, "--directory", "."], "a token is needed"),
    ],
)
def test_wrong_options_are_told_in_a_line(options: list[str], said: str) -> None:
    ended = program(*options)
    assert ended.returncode == 2
    assert said in ended.stderr.splitlines()[-1]


def test_a_directory_that_is_none_is_told_in_a_line() -> None:
    ended = program("--api", "http://x", "--project", PROJECT, "--directory", "/no/such", TOKEN="t")
    assert ended.returncode == tool_client.FAILED
    assert ended.stderr == "error: --directory /no/such: No such file or directory\n"


def test_it_refuses_to_start_where_it_could_not_keep_its_wall() -> None:
    path = ROOT / "docs" / "examples" / "tool_client.py"
    code = f"import os, runpy; os.supports_dir_fd.clear(); runpy.run_path({str(path)!r}, run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "cannot keep tools inside of a directory" in ended.stderr


# The digest ---------------------------------------------------------------------------------------------------------

ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"b": 1, "a": [1.0, True, None, {"é": "\ud800", "Z": "\u2028"}]},
    {"path": "a", "content": 'line\n"quoted" \\ \0'},
    {"n": 2**63, "f": 1e22, "small": 1e-7},
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_the_digest_is_the_one_of_the_server(arguments: dict[str, Any]) -> None:
    server = pytest.importorskip("workspace.tools.digest")
    assert tool_client.digest("write_file", arguments) == server.digest("write_file", arguments)
    # As it arrives over HTTP.
    received = json.loads(json.dumps(arguments))
    assert tool_client.digest("write_file", received) == server.digest("write_file", arguments)


def test_the_digest_is_that_of_the_name_and_the_sorted_arguments() -> None:
    known = tool_client.hashlib.sha256('["a",{"x":"é","y":[1,2.5]}]'.encode()).hexdigest()
    assert tool_client.digest("a", {"y": [1, 2.5], "x": "é"}) == known
