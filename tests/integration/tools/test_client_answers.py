"""Answers of clients: each counts once, in its time, for its own call; whatever else comes changes nothing."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from models.tenancy import Database
from tests.conftest import MakeUser
from tests.integration.approvals.steps import calls_of, make_agent, read, tool
from tests.integration.core.world import together
from tests.integration.runs.own_system import OwnSystem
from tests.integration.tools.conftest import OUTPUT_LIMIT
from tests.integration.tools.steps import (
    AtClient,
    answered,
    at_client,
    last_answer,
    post_result,
    result_taken,
    use_client,
)
from tests.support.answers import error, likeness, refused
from tests.support.api import ApiClient
from tests.support.rows import rows_of, user_id

pytestmark = pytest.mark.stack


@pytest.fixture
def waiting(user: ApiClient) -> AtClient:
    """A run that waits for one answer of the client, and quotes it."""
    make_agent(user)
    use_client(user)
    return at_client(user, f"{read('a.txt')}[then][say={{result}}]")


@pytest.fixture
def stays(waiting: AtClient, database: Database) -> Callable[[], None]:
    """Returns what holds all rows of the user to how they were before the test."""
    owner = user_id(database, waiting.user.subject)
    before = rows_of(database, owner)

    def unchanged() -> None:
        assert rows_of(database, owner) == before

    return unchanged


def quoted(waiting: AtClient) -> str:
    return last_answer(waiting.user, waiting.completed())


# -- once --------------------------------------------------------------------------------------------------------


def test_the_same_answer_once_more_is_taken_and_changes_nothing(waiting: AtClient) -> None:
    first = result_taken(waiting.user, waiting.id, {"x": [1, 1.5, None, {"y": "ä"}]})
    assert result_taken(waiting.user, waiting.id, {"x": [1, 1.5, None, {"y": "ä"}]}) == first
    waiting.completed()
    assert result_taken(waiting.user, waiting.id, {"x": [1, 1.5, None, {"y": "ä"}]}) == first, "also after the run"
    with waiting.user.events(waiting.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    assert Counter(event.type for event in events)["tool_result"] == 1


@pytest.mark.parametrize("body", [{"output": {"x": 2}}, {"output": {}}, {"error": {"code": "no", "detail": "no"}}])
def test_another_answer_is_refused_and_the_first_one_stays(waiting: AtClient, body: Any) -> None:
    first = result_taken(waiting.user, waiting.id, {"x": 1})
    again = waiting.user.post(f"tool-calls/{waiting.id}/result/", body)
    error(again, 409, "idempotency_conflict")
    assert waiting.call() == first
    assert '"x":1' in quoted(waiting)
    error(waiting.user.post(f"tool-calls/{waiting.id}/result/", body), 409, "idempotency_conflict")


def test_an_error_counts_once_as_well(waiting: AtClient) -> None:
    body = {"error": {"code": "no_disk", "detail": "There is none."}}
    first = waiting.user.post(f"tool-calls/{waiting.id}/result/", body)
    assert first.status_code == 200
    assert waiting.user.post(f"tool-calls/{waiting.id}/result/", body).json() == first.json()
    error(post_result(waiting.user, waiting.id, {}), 409, "idempotency_conflict")
    error(
        post_result(waiting.user, waiting.id, error={"code": "no_disk", "detail": "Another."}),
        409,
        "idempotency_conflict",
    )


def test_thirty_of_the_same_answer_at_once_are_all_taken_and_the_run_goes_on_once(waiting: AtClient) -> None:
    answers = together([partial(post_result, waiting.user, waiting.id, {"x": 1})] * 30)
    assert [_status(answer) for answer in answers] == [200] * 30
    run = waiting.completed()
    with waiting.user.events(waiting.accepted["events_url"]) as stream:
        told = Counter(event.type for event in stream.until("run_completed"))
    assert (told["tool_result"], told["run_completed"], told["task_started"]) == (1, 1, 2)
    assert len(waiting.user.messages(run["session_id"])) == 2


def test_of_different_answers_at_once_one_wins_and_that_is_what_the_model_hears(waiting: AtClient) -> None:
    answers = together([partial(post_result, waiting.user, waiting.id, {"number": number}) for number in range(12)])
    statuses = [_status(answer) for answer in answers]
    assert sorted(statuses) == [200] + [409] * 11
    (winner,) = [answer.json() for answer in answers if isinstance(answer, httpx.Response) and answer.is_success]
    assert winner["result"]["output"] == {"number": statuses.index(200)}
    assert f'"number":{statuses.index(200)}' in quoted(waiting)
    assert waiting.call() == winner


def test_all_calls_of_a_turn_answered_at_once_let_the_run_go_on_once(user: ApiClient) -> None:
    make_agent(user)
    use_client(user)
    waiting = at_client(user, "".join(read(f"{number}") for number in range(8)) + "[then][say=done]", count=8)
    answers = together([partial(post_result, user, call, {"of": call}) for call in waiting.ids])
    assert [_status(answer) for answer in answers] == [200] * 8
    run = waiting.completed()
    assert [call["result"]["output"]["of"] for call in calls_of(user, run["id"])] == waiting.ids
    with user.events(waiting.accepted["events_url"]) as stream:
        told = Counter(event.type for event in stream.until("run_completed"))
    assert (told["task_started"], told["tool_result"]) == (2, 8)


def _status(answer: httpx.Response | Exception) -> int:
    assert isinstance(answer, httpx.Response), answer
    return answer.status_code


# -- for its own call --------------------------------------------------------------------------------------------


def test_an_answer_with_the_digest_of_another_call_is_refused(waiting: AtClient, stays: Callable[[], None]) -> None:
    (request,) = waiting.requests
    for digest in ("0" * 64, "", request["digest"].upper(), request["digest"][:-1]):
        error(post_result(waiting.user, waiting.id, {}, digest=digest), 422, "validation_error")
    stays()
    result_taken(waiting.user, waiting.id, {}, digest=request["digest"])
    error(post_result(waiting.user, waiting.id, {}, digest="0" * 64), 422, "validation_error")


def test_a_tool_of_the_server_is_answered_by_nobody_else(user: ApiClient) -> None:
    make_agent(user)
    run = answered(user, f"{tool('list_directory')}[then][say=done]")
    (call,) = calls_of(user, run["id"])
    error(post_result(user, call["id"], {}), 409, "tool_call_not_pending")
    error(post_result(user, call["id"], call["result"]["output"]), 409, "tool_call_not_pending")
    assert calls_of(user, run["id"]) == [call]


def test_a_strangers_answer_is_not_found(waiting: AtClient, stays: Callable[[], None], make_user: MakeUser) -> None:
    stranger = make_user()
    use_client(stranger)
    foreign = post_result(stranger, waiting.id, {"x": "forged"})
    error(foreign, 404, "not_found")
    unknown = post_result(stranger, waiting.accepted["run_id"], {"x": "forged"})
    assert likeness(foreign) == likeness(unknown)
    stays()


# -- in its time -------------------------------------------------------------------------------------------------


def test_an_answer_after_the_run_was_cancelled_is_refused(waiting: AtClient) -> None:
    assert waiting.user.request("POST", f"runs/{waiting.run_id}/cancel/").status_code == 200
    waiting.user.wait_for_run(waiting.run_id, status="cancelled")
    refusal = error(post_result(waiting.user, waiting.id, {"x": 1}), 409, "tool_call_not_pending")
    assert refusal["detail"] == "The call is failed."
    assert waiting.call()["result"]["error"]["code"] == "cancelled"


def test_of_an_answer_and_a_cancel_at_once_the_rows_tell_one_story(user: ApiClient) -> None:
    make_agent(user)
    use_client(user)
    for _ in range(6):
        waiting = at_client(user, f"{read('a')}[then][say=done]")
        answer, cancel = together(
            [
                partial(post_result, user, waiting.id, {"x": 1}),
                partial(user.request, "POST", f"runs/{waiting.run_id}/cancel/"),
            ]
        )
        assert _status(cancel) == 200
        run = user.wait_for_run(waiting.run_id, status="cancelled")
        call = waiting.call()
        assert (_status(answer), call["status"]) in {(200, "succeeded"), (409, "failed")}
        assert run["tasks"][0]["status"] == "cancelled"


@pytest.mark.parametrize("end", ["the agent", "the session"])
def test_an_answer_after_what_asked_for_it_was_deleted_is_refused(waiting: AtClient, end: str) -> None:
    user, run = waiting.user, waiting.user.run(waiting.run_id)
    if end == "the agent":
        assert user.delete(f"agents/{run['tasks'][0]['agent_id']}/").status_code == 204
        error(post_result(user, waiting.id, {}), 409, "tool_call_not_pending")
        assert waiting.call()["agent_name"] == "helper"
    else:
        assert user.delete(f"chat/sessions/{run['session_id']}/").status_code == 204
        error(post_result(user, waiting.id, {}), 404, "not_found")


# -- in its form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"output": None},
        {"output": {}, "error": {"code": "no", "detail": "no"}},
        {"output": "text"},
        {"output": ["text"]},
        {"output": 7},
        {"error": "no"},
        {"error": {"code": "no"}},
        {"error": {"code": "No Code", "detail": "no"}},
        {"error": {"code": "no", "detail": ""}},
        {"error": {"code": "no", "detail": "x" * 10_001}},
        {"error": {"code": "no", "detail": "no", "more": 1}},
        {"output": {}, "more": 1},
        {"output": {}, "digest": 7},
        {"output": {}, "digest": "x" * 65},
        {"output": {}, "status": "succeeded"},
    ],
)
def test_an_answer_of_another_form_is_refused(waiting: AtClient, stays: Callable[[], None], body: Any) -> None:
    refused(waiting.user.post(f"tool-calls/{waiting.id}/result/", body))
    stays()


RAW = {
    "a NUL": b'{"output": {"x": "a\\u0000b"}}',
    "a NUL in a name": b'{"output": {"a\\u0000b": 1}}',
    "half a character": b'{"output": {"x": "\\ud800"}}',
    "half a character of an error": b'{"error": {"code": "no", "detail": "\\udfff"}}',
    "not UTF-8": b'{"output": {"x": "\xff"}}',
    "deep": b'{"output": {"x": ' + b"[" * 1_000 + b"]" * 1_000 + b"}}",
    "deeper than a reader goes": b'{"output": ' + b'{"x":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "never closed": b"[" * 200_000,
    "not a number": b'{"output": {"x": NaN}}',
    "endless": b'{"output": {"x": 1e999}}',
    "beyond 63 bits": b'{"output": {"x": 9223372036854775808}}',
    "twice the same": b'{"output": {"x": 1, "x": 2}}',
    "no JSON": b"output",
    "nothing": b"",
}


def test_an_answer_that_cannot_be_kept_is_refused_and_nothing_is_lost(
    waiting: AtClient, stays: Callable[[], None]
) -> None:
    headers = {"Content-Type": "application/json"}
    answers = {
        kind: waiting.user.request("POST", f"tool-calls/{waiting.id}/result/", content=raw, headers=headers)
        for kind, raw in RAW.items()
    }
    assert {kind: answer.status_code // 100 for kind, answer in answers.items()} == dict.fromkeys(RAW, 4)
    stays()
    result_taken(waiting.user, waiting.id, {"x": "still wanted"})
    assert "still wanted" in quoted(waiting)


def test_as_deep_as_may_be_is_kept(waiting: AtClient) -> None:
    deep: Any = "down here"
    for _ in range(58):
        deep = [deep]
    call = result_taken(waiting.user, waiting.id, {"x": deep, "odd": "\u2028\ufffe\x01\x7f", "empty": {}})
    assert call["result"]["output"] == {"x": deep, "odd": "\u2028\ufffe\x01\x7f", "empty": {}}
    assert waiting.call() == call
    assert "down here" in quoted(waiting)


def test_an_answer_that_is_too_long_is_refused(waiting: AtClient, stays: Callable[[], None]) -> None:
    error(post_result(waiting.user, waiting.id, {"x": "y" * 1_100_000}), 413, "payload_too_large")
    stays()
    result_taken(waiting.user, waiting.id, {"x": "y" * 900_000})


def test_an_answer_has_the_same_bound_as_a_tool_of_the_server(frugal: OwnSystem) -> None:
    user = frugal.user()
    make_agent(user)
    use_client(user)
    waiting = at_client(user, f"{read('a')}[then][say=done]")
    room = OUTPUT_LIMIT - len('{"ok":true,"output":{"x":""}}')
    refusal = error(post_result(user, waiting.id, {"x": "y" * (room + 1)}), 422, "validation_error")
    assert refusal["detail"] == f"The result has {OUTPUT_LIMIT + 1} bytes; at most {OUTPUT_LIMIT} are taken."
    result_taken(user, waiting.id, {"x": "y" * room})
    waiting.completed()
