"""`Prefer: wait=N`: the response to a message is held until its run has ended, or the time is up."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.answers import error
from tests.support.api import ApiClient, Json
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

ACCEPTED = {"message_id", "run_id", "task_id", "mode", "status", "queue_position", "events_url"}
ANSWERED = ACCEPTED | {"run_status", "reply", "error", "usage"}


def post(user: ApiClient, session: str, content: str, prefer: str = "wait=30") -> httpx.Response:
    message = {"content": content, "target_agent": "helper"}
    return user.request("POST", f"chat/{session}/message/", json=message, headers={"Prefer": prefer}, timeout=60)


def answered(response: httpx.Response, *, applied: str = "wait=30") -> Json:
    assert response.status_code == 200, response.text
    assert response.headers["Preference-Applied"] == applied
    body: Json = response.json()
    assert set(body) == ANSWERED
    return body


def accepted(response: httpx.Response, *, applied: str | None) -> Json:
    assert response.status_code == 202, response.text
    assert response.headers.get("Preference-Applied") == applied
    body: Json = response.json()
    assert set(body) == ACCEPTED
    return body


@pytest.fixture
def session(client: ApiClient) -> str:
    """A session of the client's, in a project with an agent."""
    client.make_agent()
    return str(client.make_session()["id"])


@pytest.fixture
def owner(user: ApiClient) -> ApiClient:
    """A new user with an agent, at the short address only."""
    user.make_agent()
    return user


def test_the_answer_comes_in_the_response(client: ApiClient, session: str) -> None:
    body = answered(post(client, session, "[tokens=5] [delay=0.3] Hello"))
    question, reply = client.messages(session)
    assert (body["run_status"], body["error"]) == ("completed", None)
    assert body["reply"] == reply
    assert (body["message_id"], body["run_id"]) == (question["id"], reply["run_id"])
    run = client.run(body["run_id"])
    assert body["usage"] == run["usage"]
    assert body["usage"]["completion_tokens"] == 5
    assert body["events_url"] == f"{client.prefix}/chat/{session}/events/?last_event_id=0"


def test_an_answer_is_not_held_back_until_the_time_is_up(owner: ApiClient) -> None:
    session = owner.make_session()["id"]
    answered(post(owner, session, "the first one opens the agent's queue"))
    started = time.monotonic()
    answered(post(owner, session, "Hello", "wait=60"), applied="wait=60")
    assert time.monotonic() - started < 10


def test_when_the_time_is_up_the_message_is_accepted_as_always(client: ApiClient, session: str) -> None:
    started = time.monotonic()
    body = accepted(post(client, session, "[delay=4] [say=late] Hello", "wait=1"), applied="wait=1")
    assert 1 <= time.monotonic() - started < 4
    client.wait_for_run(body)
    assert client.messages(session)[-1]["content"] == "late"


def test_a_run_that_fails_is_an_answer(client: ApiClient, session: str) -> None:
    body = answered(post(client, session, "[fail=400] no"))
    assert (body["run_status"], body["reply"]) == ("failed", None)
    assert body["error"] == client.run(body["run_id"])["error"]
    assert body["error"]["error_code"] == "model_error"


def test_a_run_that_is_cancelled_is_an_answer(user: ApiClient) -> None:
    agent = user.make_agent()["id"]
    session = user.make_session()["id"]
    with ThreadPoolExecutor(1) as threads:
        response = threads.submit(post, user, session, "[silent=60] never")
        eventually(lambda: user.get(f"chat/{session}/runs/").json()["total"], "the message is there")
        user.delete(f"agents/{agent}/")
        body = answered(response.result())
    assert (body["run_status"], body["reply"], body["error"]["error_code"]) == ("cancelled", None, "agent_deleted")


def test_two_sessions_wait_at_once_and_each_gets_its_own_answer(owner: ApiClient) -> None:
    sessions = [owner.make_session()["id"] for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        responses = list(threads.map(lambda each: post(owner, each, f"[delay=1] [say=for {each}] Hello"), sessions))
    assert [answered(each)["reply"]["content"] for each in responses] == [f"for {each}" for each in sessions]


def test_two_messages_of_one_session_get_an_answer_each(owner: ApiClient) -> None:
    """The second is held until the first is answered: its sender hears of the first one's end, and waits on."""
    session = owner.make_session()["id"]
    first = owner.send(session, "[delay=1] [say=one] first")
    second = answered(post(owner, session, "[say=two] second"))
    assert (second["status"], second["reply"]["content"]) == ("held", "two")
    assert owner.run(first["run_id"])["status"] == "completed"


def test_a_session_that_is_deleted_ends_the_wait(owner: ApiClient) -> None:
    session = owner.make_session()["id"]
    with ThreadPoolExecutor(1) as threads:
        started = time.monotonic()
        response = threads.submit(post, owner, session, "[silent=60] never")
        eventually(lambda: owner.get(f"chat/{session}/runs/").json()["total"], "the message is there")
        assert owner.delete(f"chat/sessions/{session}/").status_code == 204
        accepted(response.result(), applied="wait=30")
        assert time.monotonic() - started < 20


def test_the_time_is_cut_to_the_settings_limit(owner: ApiClient, tuned_url: str) -> None:
    session = owner.make_session()["id"]
    body = accepted(post(owner.at(tuned_url), session, "[delay=3] Hello", "wait=50"), applied="wait=1")
    owner.wait_for_run(body)


@pytest.mark.parametrize("prefer", ["wait", "wait=soon", "wait=0", "wait=-5", "respond-async", "wait=1.5", ";"])
def test_a_preference_that_makes_no_sense_is_ignored(owner: ApiClient, prefer: str) -> None:
    session = owner.make_session()["id"]
    body = accepted(post(owner, session, "[delay=0.5] Hello", prefer), applied=None)
    owner.wait_for_run(body)


def test_a_message_that_is_refused_is_refused_at_once(owner: ApiClient) -> None:
    session = owner.make_session()["id"]
    message = {"content": "Hello", "target_agent": "nobody"}
    answer = owner.request("POST", f"chat/{session}/message/", json=message, headers={"Prefer": "wait=30"})
    error(answer, 404, "not_found")
    assert "Preference-Applied" not in answer.headers


# The client leaves --------------------------------------------------------------------------------------------------


def waits(user: ApiClient) -> float:
    text = user.http.get(f"{user.url}/metrics").text
    return float(next(line for line in text.splitlines() if line.startswith("codelab_waits_active")).split()[1])


def test_a_sender_that_went_away_is_not_waited_for(owner: ApiClient) -> None:
    session = owner.make_session()["id"]
    eventually(lambda: waits(owner) == 0, "nobody waits")
    body = b'{"content": "[silent=60] never", "target_agent": "helper"}'
    head = (
        f"POST /my/chat/{session}/message/ HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {owner.token}\r\n"
        f"Prefer: wait=60\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    parts = urlsplit(owner.url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + body)
        eventually(lambda: waits(owner) == 1, "the sender waits")
    eventually(lambda: waits(owner) == 0, "it is noticed that the sender left")
    assert owner.delete(f"chat/sessions/{session}/").status_code == 204


# Redis is away ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mended(wire: Proxy) -> Iterator[Proxy]:
    """The way to Redis, open again after the test."""
    yield wire
    wire.mend()


def test_the_answer_comes_without_redis(owner: ApiClient, wired_url: str, mended: Proxy) -> None:
    """The message reaches the broker by the sweeper, and its sender learns of the answer from the rows."""
    session = owner.make_session()["id"]
    mended.cut()
    started = time.monotonic()
    body = answered(post(owner.at(wired_url), session, "[say=after all] Hello", "wait=60"), applied="wait=60")
    assert body["reply"]["content"] == "after all"
    assert time.monotonic() - started < 40


def test_the_time_is_kept_without_redis(owner: ApiClient, wired_url: str, mended: Proxy) -> None:
    session = owner.make_session()["id"]
    mended.cut()
    started = time.monotonic()
    body = accepted(post(owner.at(wired_url), session, "[delay=30] Hello", "wait=2"), applied="wait=2")
    assert 2 <= time.monotonic() - started < 6
    assert owner.delete(f"chat/sessions/{session}/").status_code == 204
    assert body["run_id"]


def test_the_answer_comes_when_redis_is_lost_while_its_sender_waits(
    owner: ApiClient, wired_url: str, mended: Proxy
) -> None:
    session = owner.make_session()["id"]
    answered(post(owner.at(wired_url), session, "the first one opens the agent's queue"))
    with ThreadPoolExecutor(1) as threads:
        started = time.monotonic()
        response = threads.submit(post, owner.at(wired_url), session, "[delay=3] [say=unheard] Hello")
        eventually(lambda: owner.get(f"chat/{session}/runs/", status="running").json()["total"], "it is at work")
        mended.cut()
        assert answered(response.result())["reply"]["content"] == "unheard"
        assert time.monotonic() - started < 20


def test_the_answer_comes_when_redis_was_lost_and_is_back(owner: ApiClient, wired_url: str, mended: Proxy) -> None:
    session = owner.make_session()["id"]
    with ThreadPoolExecutor(1) as threads:
        started = time.monotonic()
        response = threads.submit(post, owner.at(wired_url), session, "[delay=3] [say=heard] Hello")
        eventually(lambda: owner.get(f"chat/{session}/runs/", status="running").json()["total"], "it is at work")
        mended.cut()
        mended.mend()
        assert answered(response.result())["reply"]["content"] == "heard"
        assert time.monotonic() - started < 20
