"""`chat/`: sessions, messages, and the runs that answer them."""

from uuid import UUID, uuid4

import pytest

from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def test_a_session_is_begun_read_and_deleted(client: ApiClient) -> None:
    made = client.make_session("A talk")
    assert set(made) == {"id", "title", "created_at", "message_count"}
    assert (made["title"], made["message_count"]) == ("A talk", 0)
    path = f"chat/sessions/{made['id']}/"
    assert client.get(path).json() == made
    assert client.get("chat/sessions/").json()["items"] == [made]
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for gone in (path, f"chat/{made['id']}/messages/", f"chat/{made['id']}/runs/", f"chat/{made['id']}/events/"):
        error(client.get(gone), 404, "not_found")
    error(client.delete(path), 404, "not_found")
    assert client.get("chat/sessions/").json()["total"] == 0


@pytest.mark.parametrize("body", [{}, {"title": None}])
def test_a_session_needs_no_title(client: ApiClient, body: dict[str, None]) -> None:
    answer = client.post("chat/sessions/", body)
    assert answer.status_code == 201
    assert answer.json()["title"] is None


@pytest.mark.parametrize("title", ["", "x" * 257, 5, ["x"], {"x": 1}, True])
def test_a_bad_title_is_refused(user: ApiClient, title: object) -> None:
    assert refused(user.post("chat/sessions/", {"title": title}))[0]["loc"] == ["title"]
    assert user.get("chat/sessions/").json()["total"] == 0


def test_a_message_is_accepted_answered_and_stored(client: ApiClient) -> None:
    agent = client.make_agent("helper")
    session = client.make_session()["id"]
    accepted = client.send(session, "[say=Good morning.] Hello")
    assert set(accepted) == {
        "message_id",
        "run_id",
        "task_id",
        "mode",
        "status",
        "queue_position",
        "events_url",
    }
    assert (accepted["mode"], accepted["status"], accepted["queue_position"]) == ("direct", "queued", 0)
    assert accepted["events_url"] == f"{client.prefix}/chat/{session}/events/?last_event_id=0"
    run = client.wait_for_run(accepted)
    question, answer = client.messages(session)
    assert set(question) == {"id", "run_id", "role", "content", "agent_id", "agent_name", "created_at"}
    assert question["id"] == accepted["message_id"]
    assert (question["role"], question["content"]) == ("user", "[say=Good morning.] Hello")
    assert (question["agent_id"], question["agent_name"]) == (None, None)
    assert (answer["role"], answer["content"]) == ("assistant", "Good morning.")
    assert (answer["agent_id"], answer["agent_name"]) == (agent["id"], "helper")
    assert question["run_id"] == answer["run_id"] == run["id"] == accepted["run_id"]
    assert client.get(f"chat/sessions/{session}/").json()["message_count"] == 2
    assert client.get("chat/sessions/").json()["items"][0]["message_count"] == 2


def test_a_run_tells_of_its_task_and_what_it_used(client: ApiClient) -> None:
    agent = client.make_agent("helper")
    session = client.make_session()["id"]
    accepted = client.send(session, "[tokens=7] Hello")
    run = client.wait_for_run(accepted)
    assert run["session_id"] == session
    assert (run["mode"], run["status"], run["error"]) == ("direct", "completed", None)
    assert run["usage"]["completion_tokens"] == 7
    assert run["usage"]["total_tokens"] == run["usage"]["prompt_tokens"] + 7
    assert float(run["usage"]["cost_usd"]) > 0
    assert run["created_at"] <= run["started_at"] <= run["finished_at"]
    (task,) = run["tasks"]
    assert task["id"] == accepted["task_id"]
    assert (task["agent_id"], task["agent_name"], task["agent_version"]) == (agent["id"], "helper", 1)
    assert (task["status"], task["held_reason"], task["error"]) == ("completed", None, None)
    assert task["usage"] == run["usage"]
    (listed,) = client.get(f"chat/{session}/runs/").json()["items"]
    alone = {"tasks", "why", "plan", "mermaid", "outcome"}
    assert listed == {name: value for name, value in run.items() if name not in alone}
    assert run["why"] is None


def test_a_run_that_failed_says_why(client: ApiClient) -> None:
    client.make_agent()
    session = client.make_session()["id"]
    run = client.wait_for_run(client.send(session, "[fail=400] no"), status="failed")
    assert run["error"]["error_code"] == "model_error"
    assert run["error"]["detail"]
    assert run["error"]["retryable"] is False
    assert run["tasks"][0]["error"] == run["error"]
    assert [message["role"] for message in client.messages(session)] == ["user"]


def test_a_second_message_is_held_until_the_first_is_answered(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    first = user.send(session, "[delay=1.0] [say=one] first")
    second = user.send(session, "[say=two] second")
    assert (first["status"], second["status"]) == ("queued", "held")
    task = user.run(second["run_id"])["tasks"][0]
    assert (task["status"], task["held_reason"]) == ("held", "session")
    user.wait_for_run(second)
    assert [message["content"] for message in user.messages(session) if message["role"] == "assistant"] == [
        "one",
        "two",
    ]
    # In the order of the conversation: each answer after its question.
    assert [message["role"] for message in user.messages(session)] == ["user", "assistant"] * 2


def test_a_session_remembers_its_agent_after_the_agent_is_gone(client: ApiClient) -> None:
    agent = client.make_agent()
    session = client.make_session()["id"]
    accepted = client.answered(session, "Hello")
    assert client.delete(f"agents/{agent['id']}/").status_code == 204
    answer = client.messages(session)[1]
    assert (answer["agent_id"], answer["agent_name"]) == (None, "helper")
    task = client.run(accepted["run_id"])["tasks"][0]
    assert (task["agent_id"], task["agent_name"], task["status"]) == (None, "helper", "completed")
    error(client.post(f"chat/{session}/message/", {"content": "x", "target_agent": "helper"}), 404, "not_found")


def test_messages_and_runs_are_filtered(client: ApiClient) -> None:
    client.make_agent()
    session = client.make_session()["id"]
    client.answered(session, "Hello")
    failed = client.send(session, "[fail=400] no")
    client.wait_for_run(failed, status="failed")
    for role, expected in {"user": 2, "assistant": 1, "system": 0, "tool": 0}.items():
        listing = client.get(f"chat/{session}/messages/", role=role).json()
        assert (listing["total"], len(listing["items"])) == (expected, expected)
        assert {message["role"] for message in listing["items"]} <= {role}
    for status, expected in {"completed": 1, "failed": 1, "cancelled": 0, "queued": 0}.items():
        listing = client.get(f"chat/{session}/runs/", status=status).json()
        assert (listing["total"], len(listing["items"])) == (expected, expected)
    assert client.get(f"chat/{session}/runs/", status="failed").json()["items"][0]["id"] == failed["run_id"]


def test_a_message_may_be_long_and_hold_any_characters(client: ApiClient) -> None:
    client.make_agent()
    session = client.make_session()["id"]
    content = "[say=ok] " + "\U0001f600 <b>&amp;\t\n\r\u202e\ufeff'\"\\" * 4_000
    accepted = client.send(session, content)
    assert client.messages(session)[0]["content"] == content
    client.wait_for_run(accepted)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, {"content"}),
        ({"target_agent": None}, {"content"}),
        ({"content": "x", "target_agent": "@orchestrator"}, {"target_agent"}),
        ({"content": "x", "target_agent": ""}, {"target_agent"}),
        ({"content": "x", "target_agent": "Helper"}, {"target_agent"}),
        ({"content": "x", "target_agent": "a" * 64}, {"target_agent"}),
        ({"content": "x", "target_agent": "*"}, {"target_agent"}),
        ({"content": "", "target_agent": "helper"}, {"content"}),
        ({"content": None, "target_agent": "helper"}, {"content"}),
        ({"content": 5, "target_agent": "helper"}, {"content"}),
        ({"content": ["x"], "target_agent": "helper"}, {"content"}),
        ({"content": "x" * 100_001, "target_agent": "helper"}, {"content"}),
        ({"content": "x", "target_agent": "helper", "role": "system"}, {"role"}),
        ({"content": "x", "target_agent": "helper", "run_id": str(uuid4())}, {"run_id"}),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_bad_message_is_refused_and_leaves_nothing(user: ApiClient, body: dict[str, object], where: set[str]) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    assert {mistake["loc"][0] for mistake in refused(user.post(f"chat/{session}/message/", body))} == where
    assert user.messages(session) == []
    assert user.get(f"chat/{session}/runs/").json()["total"] == 0


def test_a_full_queue_is_told_with_the_position_and_when_to_come_back(user: ApiClient) -> None:
    """The cap counts tasks that wait, held ones too; the sessions are different, so nothing else holds them."""
    agent = user.make_agent("slow", concurrency_limit=1)
    session = user.make_session()["id"]
    for number in range(101):  # one that runs, and one hundred that wait
        accepted = user.send(session, "[silent=60] never answered", "slow")
        if number == 0:
            _wait_until_running(user, accepted["run_id"])
    assert accepted["queue_position"] == 99
    answer = user.post(f"chat/{session}/message/", {"content": "one too many", "target_agent": "slow"})
    body = error(answer, 429, "agent_queue_full", more={"queue_position"})
    assert body["queue_position"] == 100
    assert int(answer.headers["Retry-After"]) >= 1
    assert user.get(f"chat/{session}/messages/").json()["total"] == 101
    assert user.delete(f"agents/{agent['id']}/").status_code == 204
    assert user.get(f"chat/{session}/runs/", status="cancelled").json()["total"] == 101


def _wait_until_running(user: ApiClient, run_id: str) -> None:
    eventually(lambda: user.run(run_id)["status"] == "running", "the first task runs")


def test_ids_are_uuids_that_sort_by_time(client: ApiClient) -> None:
    ids = [client.make_session()["id"] for _ in range(3)]
    assert ids == sorted(ids)
    assert {UUID(each).version for each in ids} == {7}
