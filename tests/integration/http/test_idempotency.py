"""`Idempotency-Key`: a message that is sent again is the same message."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import MakeUser
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


def send(user: ApiClient, session: str, key: str, content: str = "[say=once]", **more: Any) -> httpx.Response:
    body = {"content": content, "target_agent": "helper", **more}
    return user.request("POST", f"chat/{session}/message/", json=body, headers={HEADER: key})


def runs(user: ApiClient, session: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user.get(f"chat/{session}/runs/").json()["items"]
    return found


def test_sending_again_returns_the_first_answer_and_makes_no_second_run(client: ApiClient) -> None:
    client.make_agent()
    session = client.make_session()["id"]
    client.answered(session, "something before it, so that there is a cursor")
    key = uuid4().hex
    first = send(client, session, key)
    assert first.status_code == 202
    assert REPLAYED not in first.headers
    while_it_runs = send(client, session, key)
    run = client.wait_for_run(first.json())
    after_it = send(client, session, key)
    for again in (while_it_runs, after_it):
        assert again.status_code == 202
        assert again.json() == first.json()
        assert again.headers[REPLAYED] == "true"
    assert len(runs(client, session)) == 2
    assert [m["content"] for m in client.messages(session)][2:] == ["[say=once]", "once"]
    with client.events(after_it.json()["events_url"]) as stream:
        events = stream.until("run_completed")
    assert events[0].payload["message_id"] == first.json()["message_id"]
    assert client.run(run["id"]) == run


def test_what_waited_at_the_first_answer_is_told_so_again(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    blocking = user.send(session, "[delay=3]")
    eventually(lambda: user.run(blocking["run_id"])["status"] == "running", "the run to begin")
    user.send(session, "[say=between]")
    first = send(user, session, "third")
    assert (first.json()["status"], first.json()["queue_position"]) == ("held", 1)
    user.wait_for_run(first.json())
    assert send(user, session, "third").json() == first.json()
    assert user.run(blocking["run_id"])["status"] == "completed"


def test_fifty_at_once_make_one_run(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda _: send(user, session, "the-same"), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    first = next(answer.json() for answer in answers if REPLAYED not in answer.headers)
    for answer in answers:
        assert {name: answer.json()[name] for name in first if name != "events_url"} == {
            name: value for name, value in first.items() if name != "events_url"
        }
    assert len(runs(user, session)) == 1
    user.wait_for_run(first)
    assert len(user.messages(session)) == 2


def test_twenty_at_once_in_as_many_sessions_make_one_run(user: ApiClient) -> None:
    user.make_agent()
    sessions = [user.make_session()["id"] for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda session: send(user, session, "the-same"), sessions))
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len(accepted) == 1
    for answer in answers:
        if answer is not accepted[0]:
            error(answer, 409, "idempotency_conflict")
    assert sum(len(runs(user, session)) for session in sessions) == 1
    assert sum(len(user.messages(session, role="user")) for session in sessions) == 1


def test_the_same_name_for_something_else_is_a_conflict(user: ApiClient) -> None:
    user.make_agent()
    user.make_agent("other")
    session, second = user.make_session()["id"], user.make_session()["id"]
    elsewhere = user.inside(user.make_project()["id"])
    elsewhere.make_agent()
    first = send(user, session, "name")
    user.wait_for_run(first.json())
    for conflict in (
        send(user, session, "name", "[say=once] "),
        send(user, session, "name", target_agent="other"),
        send(user, session, "name", on_busy="reject"),
        send(user, second, "name"),
        send(elsewhere, elsewhere.make_session()["id"], "name"),
        send(user, str(uuid4()), "name"),
    ):
        error(conflict, 409, "idempotency_conflict")
        assert REPLAYED not in conflict.headers
    assert len(runs(user, session)) == 1
    assert runs(user, second) == []
    assert send(user, session, "name").json() == first.json()
    spelled_out = user.request(
        "POST",
        f"chat/{session}/message/",
        json={"on_busy": "enqueue", "target_agent": "helper", "content": "[say=once]"},
        headers={HEADER: "name"},
    )
    assert spelled_out.json() == first.json()


def test_names_belong_to_their_user(user: ApiClient, make_user: MakeUser) -> None:
    answers = []
    for client in (user, make_user()):
        client.make_agent()
        answers.append(send(client, client.make_session()["id"], "ours"))
        assert answers[-1].status_code == 202
        assert REPLAYED not in answers[-1].headers
        client.wait_for_run(answers[-1].json())
    assert answers[0].json()["run_id"] != answers[1].json()["run_id"]


def test_other_names_and_no_name_are_other_messages(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    sent = [send(user, session, key).json()["run_id"] for key in ("a", "A", "a" * 255)]
    sent += [user.send(session, "[say=once]")["run_id"] for _ in range(2)]
    assert len(set(sent)) == 5


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "tab\tbed", "ümlaut".encode(), b"\xff"])
def test_a_malformed_name_is_refused_and_nothing_is_stored(user: ApiClient, key: Any) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    error(send(user, session, key), 422, "validation_error")
    assert user.messages(session) == []


def test_sending_again_finds_the_run_although_its_agent_is_gone(user: ApiClient) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    first = send(user, session, "key", "[silent=60]").json()
    assert user.delete(f"agents/{agent['id']}/").status_code == 204
    assert send(user, session, "key", "[silent=60]").json() == first
    error(send(user, session, "another"), 404, "not_found")
    user.wait_for_run(first, status="cancelled")
    assert send(user, session, "key", "[silent=60]").json() == first


def test_sending_again_with_a_wish_finds_the_run_and_neither_refuses_nor_interrupts_it(user: ApiClient) -> None:
    user.make_agent()
    for wish in ("reject", "interrupt"):
        session = user.make_session()["id"]
        first = send(user, session, wish, "[delay=0.8]", on_busy=wish).json()
        assert send(user, session, wish, "[delay=0.8]", on_busy=wish).json() == first
        assert user.wait_for_run(first)["cancel_requested_at"] is None


def test_a_refused_message_leaves_its_name_free(user: ApiClient) -> None:
    session = user.make_session()["id"]
    error(send(user, session, "no-agent"), 404, "not_found")
    user.make_agent(concurrency_limit=1)
    assert REPLAYED not in send(user, session, "no-agent", "[delay=3]").headers
    error(send(user, session, "busy", "hello", on_busy="reject"), 409, "session_busy")
    busy = send(user, session, "busy", "[say=something else altogether]")
    assert busy.status_code == 202
    assert REPLAYED not in busy.headers
    error(send(user, session, "malformed", ""), 422, "validation_error", more={"errors"})
    assert send(user, session, "malformed").status_code == 202


def test_a_deleted_session_takes_the_names_of_its_messages_with_it(user: ApiClient) -> None:
    user.make_agent()
    gone, session = user.make_session()["id"], user.make_session()["id"]
    user.wait_for_run(send(user, gone, "key").json())
    assert user.delete(f"chat/sessions/{gone}/").status_code == 204
    answer = send(user, session, "key")
    assert answer.status_code == 202
    assert REPLAYED not in answer.headers
