"""Tools that the owner's client carries out: it is asked by an event and answers by HTTP, and the model hears it."""

from datetime import UTC, datetime

import pytest

from tests.integration.approvals.steps import (
    TOOLS,
    approvals_of,
    calls_of,
    confirmed,
    make_agent,
    marked,
    only,
    plot,
    read,
    told,
    tool,
    write,
)
from tests.integration.runs.own_system import OwnSystem
from tests.integration.runs.steps import calls as model_calls
from tests.integration.tools.steps import (
    answered,
    approved,
    at_client,
    calls_when,
    last_answer,
    outcomes,
    post_result,
    put_files,
    result_taken,
    send,
    use_client,
)
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.tools.digest import digest

pytestmark = pytest.mark.stack


@pytest.fixture
def owner(user: ApiClient) -> ApiClient:
    """A user whose client carries tools out."""
    make_agent(user)
    return use_client(user)


def test_the_client_is_asked_and_the_model_hears_its_answer(owner: ApiClient, standin: Standin) -> None:
    content = marked(f"[say=I look.]{tool('read_file', path='a.txt', length=9)}[then][say=It is {{result.output.x}}.]")
    accepted = owner.send(owner.make_session()["id"], content)
    with owner.events(accepted["events_url"]) as stream:
        before = stream.until("task_waiting")
        request = only(before, "tool_request").payload
        (call,) = calls_of(owner, accepted["run_id"])
        assert call["status"] == "running"
        run = owner.run(accepted["run_id"])
        assert run["status"] == "waiting"
        assert run["why"]["code"] == "client_tool"
        assert run["why"]["tool_call_ids"] == [call["id"]]
        answer = result_taken(owner, call["id"], {"x": "hello"}, digest=request["digest"])
        after = stream.until("run_completed")
    assert plot(before + after, accepted["run_id"]) == [
        "message_created",
        "direct_agent_call",
        "task_started",
        "context_retrieved",
        "task_progress",
        "tool_request",
        "task_waiting",
        "tool_result",
        "task_started",
        "task_progress",
        "task_completed",
        "message_created",
        "run_completed",
    ]
    assert before[-1].payload["reason"] == "client_tool"
    # What is asked for is what the model called, to the last character.
    assert request["arguments"] == call["arguments"] == {"path": "a.txt", "length": 9}
    assert request["arguments_complete"] is True
    assert request["digest"] == call["digest"] == digest("read_file", {"path": "a.txt", "length": 9})
    assert (request["tool"], request["call_id"], request["agent_name"]) == ("read_file", call["call_id"], "helper")
    assert request["expires_at"] == call["expires_at"]
    assert (call["execution"], call["risk"], call["result"]) == ("client", "low", None)
    # What it answered is what the model was told, and what the rows keep.
    assert answer["status"] == "succeeded"
    assert answer["result"] == {"ok": True, "output": {"x": "hello"}}
    assert told(standin, content) == [answer["result"]]
    assert calls_of(owner, accepted["run_id"]) == [answer]
    result = only(after, "tool_result").payload
    assert (result["tool_call_id"], result["status"], result["execution"]) == (call["id"], "succeeded", "client")
    assert last_answer(owner, owner.run(accepted["run_id"])) == "It is hello."


def test_an_error_of_the_client_is_told_as_one(owner: ApiClient) -> None:
    waiting = at_client(owner, f"{read('a.txt')}[then][say={{result.error.code}}: {{result.error.detail}}]")
    answer = result_taken(owner, waiting.id, error={"code": "disk_full", "detail": "There is no room."})
    assert answer["status"] == "failed"
    assert last_answer(owner, waiting.completed()) == "client_error: disk_full: There is no room."


def test_what_risks_something_is_approved_first_and_asked_of_the_client_then(owner: ApiClient) -> None:
    content = f"{write('a.txt', 'text')}[then][say={{result.output.size}}]"
    accepted = send(owner, content)
    with owner.events(accepted["events_url"]) as stream:
        asking = stream.until("task_waiting")
        assert asking[-1].payload["reason"] == "approval"
        assert "tool_request" not in {event.type for event in asking}
        (call,) = calls_of(owner, accepted["run_id"])
        assert (call["status"], call["execution"]) == ("awaiting_approval", "client")
        early = error(post_result(owner, call["id"], {"size": 4}), 409, "tool_call_not_pending")
        assert early["detail"] == "The call is awaiting_approval."
        approved(owner, accepted["run_id"])
        asked = stream.until("task_waiting")
        assert asked[-1].payload["reason"] == "client_tool"
        assert only(asked, "tool_request").payload["tool_call_id"] == call["id"]
        result_taken(owner, call["id"], {"size": 4})
        stream.until("run_completed")
    assert last_answer(owner, owner.run(accepted["run_id"])) == "4"


def test_what_its_owner_refused_is_not_asked_of_the_client(owner: ApiClient) -> None:
    accepted = send(owner, f"{write('a.txt')}[then][say={{result.error.code}}]")
    (question,) = eventually(lambda: approvals_of(owner, run_id=accepted["run_id"], status="pending"), "the question")
    confirmed(owner, question["id"], "reject")
    run = owner.wait_for_run(accepted)
    assert last_answer(owner, run) == "rejected"
    (call,) = calls_of(owner, run["id"])
    error(post_result(owner, call["id"], {}), 409, "tool_call_not_pending")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_calls_of_a_turn_are_answered_in_either_order(owner: ApiClient, order: tuple[int, int]) -> None:
    waiting = at_client(owner, f"{read('a')}{read('b')}[then][say={{result}}]", count=2)
    for number in order:
        assert owner.run(waiting.run_id)["status"] == "waiting"
        result_taken(owner, waiting.ids[number], {"number": number})
    run = waiting.completed()
    assert last_answer(owner, run) == '{"ok":true,"output":{"number":0}}; {"ok":true,"output":{"number":1}}'
    assert [call["position"] for call in calls_of(owner, run["id"])] == [0, 1]


def test_a_call_that_is_wrong_is_not_asked_of_the_client(owner: ApiClient) -> None:
    waiting = at_client(owner, f"{tool('read_file')}{read('b')}{tool('no_such_tool')}[then][say=done]")
    assert waiting.requests[0]["arguments"] == {"path": "b"}
    result_taken(owner, waiting.id, {})
    run = waiting.completed()
    assert outcomes(calls_of(owner, run["id"])) == ["invalid_arguments", "succeeded", "unknown_tool"]


def test_turn_after_turn_is_asked_of_the_client(owner: ApiClient) -> None:
    waiting = at_client(owner, f"{read('a')}[then]{read('b')}[then][say=done]")
    result_taken(owner, waiting.id, {})
    first, second = calls_when(owner, waiting.run_id, ["succeeded", "running"])
    assert (first["turn"], second["turn"]) == (1, 2)
    result_taken(owner, second["id"], {})
    waiting.completed()


def test_a_long_text_is_cut_in_the_event_and_whole_in_the_call(owner: ApiClient) -> None:
    waiting = at_client(owner, f"{tool('list_directory', pattern='x' * 5_000)}[then][say=done]")
    (request,) = waiting.requests
    assert request["arguments_complete"] is False
    assert len(request["arguments"]["pattern"]) < 2_100
    call = waiting.call()
    assert call["arguments"] == {"pattern": "x" * 5_000}
    assert digest(call["tool"], call["arguments"]) == request["digest"]
    result_taken(owner, waiting.id, {}, digest=request["digest"])
    waiting.completed()


# -- a project that is switched ----------------------------------------------------------------------------------


def test_a_project_that_is_switched_in_the_middle_counts_from_the_next_turn_on(owner: ApiClient) -> None:
    put_files(use_client(owner, "server"), **{"a.txt": "of the server"})
    use_client(owner)
    waiting = at_client(owner, f"{read('a.txt')}{read('a.txt')}[then]{read('a.txt')}[then][say=done]", count=2)
    result_taken(owner, waiting.ids[0], {"content": "of the client"})
    use_client(owner, "server")
    result_taken(owner, waiting.ids[1], {"content": "of the client"})
    calls = calls_of(owner, waiting.completed()["id"])
    assert [call["execution"] for call in calls] == ["client", "client", "server"]
    assert [call["result"]["output"]["content"] for call in calls] == ["of the client"] * 2 + ["of the server"]


def test_a_server_that_is_switched_to_the_client_asks_it_in_the_next_turn(user: ApiClient) -> None:
    put_files(user, **{"a.txt": "x"})
    make_agent(user)
    accepted = send(user, f"{write('b.txt')}[then]{read('a.txt')}[then][say=done]")
    calls_when(user, accepted["run_id"], ["awaiting_approval"])
    use_client(user)
    approved(user, accepted["run_id"])
    first, second = calls_when(user, accepted["run_id"], ["succeeded", "running"])
    assert (first["execution"], second["execution"]) == ("server", "client")
    result_taken(user, second["id"], {})
    user.wait_for_run(accepted)


def test_another_project_of_the_same_user_is_not_switched_with_it(owner: ApiClient) -> None:
    other = owner.inside(owner.make_project("second")["id"])
    make_agent(other)
    run = answered(other, f"{tool('list_directory')}[then][say=done]")
    (call,) = calls_of(other, run["id"])
    assert call["execution"] == "server"


def test_what_project_says_is_shown_and_kept(user: ApiClient) -> None:
    project = user.make_project("mine")
    assert project["tool_execution"] == "server"
    inside = f"/my/projects/{project['id']}/"
    assert user.put(inside, {"name": "mine", "tool_execution": "client"}).json()["tool_execution"] == "client"
    assert user.get(inside).json()["tool_execution"] == "client"
    assert user.put(inside, {"name": "mine"}).json()["tool_execution"] == "server", "a PUT replaces"
    assert user.put(inside, {"name": "mine", "tool_execution": "elsewhere"}).status_code == 422


# -- what waits holds nothing ------------------------------------------------------------------------------------


def test_a_run_that_waits_for_its_client_holds_no_slot(user: ApiClient, standin: Standin) -> None:
    agent = make_agent(user, concurrency_limit=1)
    use_client(user)
    waiting = [at_client(user, f"{read('a')}[then][say=done]") for _ in range(5)]
    assert standin.witness(agent["id"])["current"] == 0
    assert user.get(f"agents/{agent['id']}/status/").json()["running"] == 0
    run = answered(user, "[say=at once]")
    assert last_answer(user, run) == "at once"
    held = send(user, "[delay=30]")
    model_calls(standin, agent, 1)
    for each in waiting:
        result_taken(user, each.id, {})
    assert [user.run(each.run_id)["status"] for each in waiting] == ["queued"] * 5, "the only slot is taken now"
    assert user.request("POST", f"runs/{held['run_id']}/cancel/").status_code == 200
    for each in waiting:
        each.completed()


# -- time --------------------------------------------------------------------------------------------------------


def test_a_client_that_does_not_answer_in_time_is_not_waited_for(frugal: OwnSystem) -> None:
    user = frugal.user()
    make_agent(user)
    use_client(user)
    waiting = at_client(user, f"{read('a')}{read('b')}[then][say={{result.error.code}}]", count=2)
    result_taken(user, waiting.ids[0], {})
    with user.events(waiting.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    in_time, late = calls_of(user, waiting.run_id)
    assert (in_time["status"], late["status"]) == ("succeeded", "expired")
    assert late["result"]["error"]["code"] == "client_timeout"
    assert [event.payload["error_code"] for event in events if event.type == "tool_result"] == [None, "client_timeout"]
    assert last_answer(user, user.run(waiting.run_id)) == "client_timeout"
    error(post_result(user, late["id"], {}), 409, "tool_call_not_pending")
    assert user.get(f"tool-calls/{late['id']}/").json() == late


def test_the_time_that_a_client_takes_is_not_the_tasks_own(frugal: OwnSystem) -> None:
    """The model's second turn alone takes less than the agent may run; both, and the client's time, take more."""
    user = frugal.user()
    user.make_agent(tools=TOOLS, limits={"timeout_seconds": 3})
    use_client(user)
    waiting = at_client(user, f"[delay=0.7]{read('a')}[then][delay=0.7][say=in time]")
    eventually(lambda: _age(waiting.call()) > 1.8, "the client to take its time", every=0.1)
    result_taken(user, waiting.id, {})
    assert last_answer(user, waiting.completed()) == "in time"
    late = at_client(user, f"[delay=1.7]{read('a')}[then][delay=1.7][say=too late]")
    result_taken(user, late.id, {})
    run = user.wait_for_run(late.accepted, status="failed")
    assert run["error"]["error_code"] == "deadline_exceeded", "the time before the wait counts"


def _age(call: dict[str, str]) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(call["started_at"])).total_seconds()
