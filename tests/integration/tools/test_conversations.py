"""A model uses tools over several turns, well and badly: it is told what came of each call, and answers."""

import json
from typing import Any

import pytest

from models.tenancy import Database
from tests.integration.approvals.steps import (
    TOOLS,
    calls_of,
    error_codes,
    make_agent,
    marked,
    only,
    plot,
    read,
    requests_for,
    told,
    tool,
    write,
)
from tests.integration.runs.own_system import OwnSystem
from tests.integration.tools.conftest import MAX_TURNS, OUTPUT_LIMIT, TOKEN_BUDGET
from tests.integration.tools.steps import answered, last_answer, outcomes, put_files, send
from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.rows import rows_of, user_id
from tests.support.standin import Standin

pytestmark = pytest.mark.stack


@pytest.fixture
def agent(user: ApiClient) -> dict[str, Any]:
    return make_agent(user)


# -- as it should be ---------------------------------------------------------------------------------------------


def test_a_conversation_of_three_turns(user: ApiClient, agent: dict[str, Any], standin: Standin) -> None:
    put_files(user, **{"notes.txt": "the moon is far"})
    content = marked(
        f"[say=I look around.]{tool('list_directory', path='.')}"
        f"[then][say=I read.]{read('notes.txt')}[then][say=It says: {{result.output.content}}]"
    )
    session = user.make_session()["id"]
    accepted = user.send(session, content)
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    assert plot(events, accepted["run_id"]) == [
        "message_created",
        "direct_agent_call",
        "task_started",
        "context_retrieved",
        "task_progress",
        "tool_result",
        "task_progress",
        "tool_result",
        "task_progress",
        "task_completed",
        "message_created",
        "run_completed",
    ]
    texts: dict[int, str] = {}
    for event in events:
        if event.type == "task_progress":
            texts[event.payload["turn"]] = texts.get(event.payload["turn"], "") + event.payload["text"]
    assert texts == {1: "I look around.", 2: "I read.", 3: "It says: the moon is far"}
    assert [message["content"] for message in user.messages(session)] == [content, "It says: the moon is far"]
    # The model was shown all of it, in the form of the protocol.
    first, second, third = requests_for(standin, content)
    assert [one["function"]["name"] for one in first["tools"]] == TOOLS
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert third["messages"][: len(second["messages"])] == second["messages"]
    said, result = third["messages"][-2:]
    assert (said["role"], said["content"], result["role"]) == ("assistant", "I read.", "tool")
    (asked,) = said["tool_calls"]
    assert asked["id"] == result["tool_call_id"]
    assert (asked["function"]["name"], json.loads(asked["function"]["arguments"])) == (
        "read_file",
        {"path": "notes.txt"},
    )
    assert json.loads(result["content"])["output"]["content"] == "the moon is far"
    # The ledger says the same.
    listed, was_read = calls_of(user, accepted["run_id"])
    assert [(call["turn"], call["position"], call["tool"], call["status"]) for call in (listed, was_read)] == [
        (1, 0, "list_directory", "succeeded"),
        (2, 0, "read_file", "succeeded"),
    ]
    assert was_read["result"] == json.loads(result["content"])
    assert was_read["call_id"] == asked["id"]
    assert {was_read["risk"], was_read["execution"], was_read["agent_name"]} == {"low", "server", "helper"}
    assert was_read["created_at"] <= was_read["started_at"] <= was_read["finished_at"]
    # What it used is that of all three.
    run = user.run(accepted["run_id"])
    usages = [standin.usage_of(request) for request in (first, second, third)]
    assert run["usage"]["total_tokens"] == sum(usage["total_tokens"] for usage in usages)
    assert only(events, "run_completed").payload["usage"] == run["usage"]


def test_the_next_message_of_the_session_sees_no_turns_with_tools(
    user: ApiClient, agent: dict[str, Any], standin: Standin
) -> None:
    session = user.make_session()["id"]
    first = marked(f"{tool('list_directory')}[then][say=nothing there]")
    user.answered(session, first)
    second = marked("and now?")
    user.answered(session, second)
    (request,) = requests_for(standin, second)
    assert [(said["role"], said["content"]) for said in request["messages"]][1:] == [
        ("user", first),
        ("assistant", "nothing there"),
        ("user", second),
    ]
    assert not any("tool_calls" in said for said in request["messages"])


def test_many_files_are_read_in_one_turn_and_told_in_their_order(user: ApiClient, agent: dict[str, Any]) -> None:
    contents = {f"part{number}.txt": f"text {number}" for number in range(12)}
    put_files(user, **contents)
    run = answered(user, "".join(map(read, contents)) + "[then][say={result}]")
    results = [json.loads(each) for each in last_answer(user, run).split("; ")]
    assert [result["output"]["content"] for result in results] == list(contents.values())
    assert outcomes(calls_of(user, run["id"])) == ["succeeded"] * 12


def test_an_agent_without_tools_is_offered_none(user: ApiClient, standin: Standin) -> None:
    user.make_agent()
    content = marked("hello")
    user.answered(user.make_session()["id"], content)
    (request,) = requests_for(standin, content)
    assert "tools" not in request


# -- calls that are wrong ----------------------------------------------------------------------------------------


def test_a_tool_that_the_agent_has_not_is_told_like_one_that_there_is_not(user: ApiClient) -> None:
    user.make_agent(tools=["read_file"])
    content = f"{tool('list_directory')}{tool('no_such_tool')}{tool('write_file', path='a', content='b')}"
    run = answered(user, f"{content}[then][say={{result}}]")
    calls = calls_of(user, run["id"])
    assert outcomes(calls) == ["unknown_tool"] * 3
    assert {call["result"]["error"]["detail"] for call in calls} == {"There is no such tool; there are: read_file."}
    assert all(call["started_at"] is None for call in calls), "nothing of it was begun"
    assert user.get("approvals/").json()["total"] == 0, "nobody is asked for what cannot be"
    assert last_answer(user, run).count("unknown_tool") == 3


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "cut off": ({"name": "read_file", "raw": '{"path": "a'}, "invalid_arguments"),
    "no JSON": ({"name": "read_file", "raw": "path=a"}, "invalid_arguments"),
    "no object": ({"name": "read_file", "raw": '["a"]'}, "invalid_arguments"),
    "nothing": ({"name": "read_file", "raw": ""}, "invalid_arguments"),
    "null": ({"name": "read_file", "raw": "null"}, "invalid_arguments"),
    "a NUL": ({"name": "read_file", "raw": '{"path": "a\\u0000b"}'}, "invalid_arguments"),
    "half a character": ({"name": "read_file", "raw": '{"path": "\\ud800"}'}, "invalid_arguments"),
    "not a number": ({"name": "read_file", "raw": '{"path": "a", "offset": NaN}'}, "invalid_arguments"),
    "too large a number": ({"name": "read_file", "raw": '{"path": "a", "offset": 1e400}'}, "invalid_arguments"),
    "beyond 63 bits": ({"name": "read_file", "raw": f'{{"path": "a", "offset": {2**63}}}'}, "invalid_arguments"),
    "an exponent": ({"name": "read_file", "raw": '{"path": "a", "offset": 1e22}'}, "invalid_arguments"),
    "deep": ({"name": "read_file", "raw": '{"path": ' + "[" * 5_000 + "]" * 5_000 + "}"}, "invalid_arguments"),
    "deep and open": ({"name": "read_file", "raw": "[" * 5_000}, "invalid_arguments"),
    "twice the same": ({"name": "read_file", "raw": '{"path": "a", "path": "b"}'}, "invalid_arguments"),
    "the wrong type": ({"name": "read_file", "arguments": {"path": 7}}, "invalid_arguments"),
    "too little": ({"name": "read_file", "arguments": {}}, "invalid_arguments"),
    "too much": ({"name": "read_file", "arguments": {"path": "a", "user_id": "x"}}, "invalid_arguments"),
    "not there": ({"name": "read_file", "arguments": {"path": "nowhere.txt"}}, "not_found"),
    "a name with a NUL": ({"name": "read\x00file", "arguments": {"path": "a"}}, "unknown_tool"),
    "a name of lines": ({"name": "read_file\n\n", "arguments": {"path": "a"}}, "unknown_tool"),
    "a long name": ({"name": "x" * 10_000, "arguments": {}}, "unknown_tool"),
    "no name": ({"name": "", "arguments": {}}, "unknown_tool"),
    "a name in another script": ({"name": "чтение", "arguments": {}}, "unknown_tool"),
    "a name of Python": ({"name": "__class__", "arguments": {}}, "unknown_tool"),
    "no id": ({"name": "no_id", "id": None}, "unknown_tool"),
    "an empty id": ({"name": "empty_id", "id": ""}, "unknown_tool"),
    "a long id": ({"name": "long_id", "id": "x" * 5_000}, "unknown_tool"),
    "an id with a NUL": ({"name": "nul_id", "id": "a\x00b"}, "unknown_tool"),
    "an id that comes twice": ({"name": "same_id", "id": "same"}, "unknown_tool"),
    "and once more": ({"name": "same_id", "id": "same"}, "unknown_tool"),
}


def test_whatever_a_model_calls_is_told_and_kept_and_the_run_goes_on(
    user: ApiClient, agent: dict[str, Any], standin: Standin
) -> None:
    content = marked("whatever")
    calls = [call for call, _ in WRONG.values()]
    for each in calls:
        each.setdefault("id", "*")
    mark = content.rpartition(" ")[2].strip("()")
    standin.rules({"match": mark, "steps": [{"tool": calls}, {"say": "I gave up."}]})
    run = user.wait_for_run(user.send(user.make_session()["id"], content))
    found = calls_of(user, run["id"])
    assert dict(zip(WRONG, outcomes(found), strict=True)) == {kind: code for kind, (_, code) in WRONG.items()}
    assert last_answer(user, run) == "I gave up."
    # The model hears of each under an id of its own, and in a form that any server of the protocol takes.
    results = told(standin, content)
    assert error_codes(results) == [code for _, code in WRONG.values()]
    said = [one for one in requests_for(standin, content)[-1]["messages"] if one["role"] == "assistant"][-1]
    ids = [one["id"] for one in said["tool_calls"]]
    assert len(set(ids)) == len(WRONG)
    assert ids == [call["call_id"] for call in found]
    for one in said["tool_calls"]:
        assert one["function"]["name"].replace("_", "").isalnum()
        assert isinstance(json.loads(one["function"]["arguments"]), dict)
    # Each one can be read by itself.
    for call in found:
        answer = user.get(f"tool-calls/{call['id']}/")
        assert (answer.status_code, answer.json()) == (200, call)


def test_a_model_that_begins_anew_with_its_ids_in_each_turn_is_understood(
    user: ApiClient, agent: dict[str, Any], standin: Standin
) -> None:
    mark = marked("ids").rpartition(" ")[2].strip("()")
    call = {"name": "list_directory", "id": "call_0", "arguments": {}}
    standin.rules({"match": mark, "steps": [{"tool": [call]}, {"tool": [call]}, {"say": "done"}]})
    run = answered(user, f"ids {mark}")
    assert [call["call_id"] for call in calls_of(user, run["id"])] == ["call_0", "call_2_0"]


def test_sixty_four_calls_in_a_turn_are_carried_out(user: ApiClient, agent: dict[str, Any]) -> None:
    run = answered(user, '[tool={"name": "list_directory", "times": 64}][then][say=done]')
    calls = calls_of(user, run["id"])
    assert outcomes(calls) == ["succeeded"] * 64
    assert [call["position"] for call in calls] == list(range(64))


def test_sixty_five_calls_in_a_turn_are_none(user: ApiClient, agent: dict[str, Any]) -> None:
    accepted = send(user, '[tool={"name": "list_directory", "times": 65}][then][say=done]')
    run = user.wait_for_run(accepted, status="failed")
    assert run["error"]["error_code"] == "model_error"
    assert calls_of(user, run["id"]) == []


# -- configs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["no_such_tool"], ["read_file", "no_such_tool", "another"]])
def test_a_config_with_tools_that_there_are_not_is_refused(
    user: ApiClient, database: Database, names: list[str]
) -> None:
    made = user.make_agent("kept")
    before = rows_of(database, user_id(database, user.subject))
    for answer in (
        user.post("agents/", {"name": "helper", "tools": names}),
        user.put(f"agents/{made['id']}/", {"name": "kept", "tools": names}),
    ):
        detail = error(answer, 422, "validation_error")["detail"]
        assert "no_such_tool" in detail
        assert "read_file" in detail, "it says which there are"
    assert rows_of(database, user_id(database, user.subject)) == before


def test_a_name_that_no_tool_can_have_is_refused_by_the_schema(user: ApiClient) -> None:
    refused(user.post("agents/", {"name": "helper", "tools": ["Read File"]}))


# -- bounds ------------------------------------------------------------------------------------------------------


def test_the_last_turn_has_to_answer(frugal: OwnSystem, standin: Standin) -> None:
    user = frugal.user()
    make_agent(user)
    mark = marked("turns").rpartition(" ")[2].strip("()")
    standin.rules({"match": mark, "steps": [{"tool": ["list_directory"]}] * 10})
    content = f"turns {mark}"
    run = user.wait_for_run(user.send(user.make_session()["id"], content))
    assert len(calls_of(user, run["id"])) == MAX_TURNS - 1
    requests = requests_for(standin, content)
    assert [request.get("tool_choice") for request in requests] == [None] * (MAX_TURNS - 1) + ["none"]
    assert "'tool_choice' is 'none'" in last_answer(user, run)


def test_a_model_that_calls_on_where_it_has_to_answer_has_failed(frugal: OwnSystem, standin: Standin) -> None:
    user = frugal.user()
    make_agent(user)
    mark = marked("insisting").rpartition(" ")[2].strip("()")
    standin.rules({"match": mark, "insist": True, "steps": [{"tool": ["list_directory"]}] * 10})
    accepted = send(user, f"insisting {mark}")
    run = user.wait_for_run(accepted, status="failed")
    assert run["error"]["error_code"] == "model_error"
    assert outcomes(calls_of(user, run["id"])) == ["succeeded"] * (MAX_TURNS - 1), "what was done stays done"


def test_a_run_that_used_up_its_tokens_ends(frugal: OwnSystem) -> None:
    user = frugal.user()
    make_agent(user)
    put_files(user, **{"long.txt": "word " * 550})
    three = read("long.txt") * 3
    accepted = send(user, f"{three}[then]{three}[then][say=never]")
    run = user.wait_for_run(accepted, status="failed")
    assert run["error"]["error_code"] == "budget_exceeded"
    assert f"it may use {TOKEN_BUDGET}" in run["error"]["detail"]
    assert run["error"]["retryable"] is False
    assert run["usage"]["total_tokens"] > TOKEN_BUDGET
    assert outcomes(calls_of(user, run["id"])) == ["succeeded"] * 6
    assert user.messages(run["session_id"], role="assistant") == []


def test_a_tool_answers_as_much_as_it_may_and_says_that_there_is_more(frugal: OwnSystem) -> None:
    user = frugal.user()
    make_agent(user)
    text = "".join(f"line-{number}-" for number in range(4_000))
    put_files(user, **{"long.txt": text})
    run = answered(user, f"{read('long.txt')}[then][say=done]")
    (call,) = calls_of(user, run["id"])
    output = call["result"]["output"]
    assert output["truncated"]
    assert len(json.dumps(output, ensure_ascii=False).encode()) <= OUTPUT_LIMIT
    rest = answered(user, tool("read_file", path="long.txt", offset=output["next_offset"]) + "[then][say=done]")
    (second,) = calls_of(user, rest["id"])
    joined = output["content"] + second["result"]["output"]["content"]
    assert text.startswith(joined)
    assert len(joined) > OUTPUT_LIMIT


def test_what_a_model_writes_in_a_call_may_be_long(user: ApiClient, agent: dict[str, Any]) -> None:
    """It is whole in the rows, and cut in the event that asks."""
    text = "long " * 15_000
    accepted = send(user, f"{write('long.txt', text)}[then][say=done]")
    with user.events(accepted["events_url"]) as stream:
        question = stream.until("approval_required")[-1].payload
    assert question["arguments_complete"] is False
    assert len(question["arguments"]["content"]) < 3_000
    (call,) = calls_of(user, accepted["run_id"])
    assert call["arguments"]["content"] == text
    assert user.request("POST", f"runs/{accepted['run_id']}/cancel/").status_code == 200
