"""What streams tell agrees with what is stored, and each message's address leads to its own events."""

from collections.abc import Iterable
from uuid import UUID

import pytest
import redis

from tests.integration.streams.conftest import Talk
from tests.support.api import ApiClient, Json
from tests.support.streams import Event

pytestmark = pytest.mark.stack

ENDS = ("run_completed", "run_failed", "run_cancelled")


def snapshot(events: Iterable[Event]) -> list[Json]:
    """Rebuild a session's messages from its events."""
    return [
        {
            "id": event.payload["message_id"],
            "run_id": event.body["run_id"],
            "role": event.payload["role"],
            "content": event.payload["content"],
            "agent_id": event.payload["agent_id"],
            "agent_name": event.payload["agent_name"],
        }
        for event in events
        if event.type == "message_created"
    ]


def texts(events: Iterable[Event]) -> dict[str, str]:
    """Join the pieces of each run's answer, as a client does that shows them while they come."""
    attempts: dict[str, int] = {}
    joined: dict[str, str] = {}
    for event in events:
        if event.type == "task_progress":
            run, piece = event.body["run_id"], event.payload
            if piece["attempt"] != attempts.get(run):
                attempts[run] = piece["attempt"]
                joined[run] = ""
            assert piece["offset"] == len(joined[run])
            joined[run] += piece["text"]
    return joined


def stored(client: ApiClient, session_id: str) -> list[Json]:
    """Read a session's messages without the times of their rows."""
    return [
        {name: value for name, value in each.items() if name != "created_at"} for each in client.messages(session_id)
    ]


def test_snapshot_and_events_agree(user: ApiClient) -> None:
    """Answers at once, in pieces, of a second agent, after a broken connection, after a 503, and none at all."""
    user.make_agent("helper")
    user.make_agent("second")
    session = user.make_session()["id"]
    questions = [
        ("[say=short] one", "helper"),
        ("[tokens=30] [gap=0.01] two", "second"),
        ("[tokens=12] [gap=0.02] [break=6x1] three", "helper"),
        ("[tokens=3] [fail=503x1] four", "helper"),
        ("[fail=400] five", "second"),
        ("[say=ü\U0001f600\nline] six", "helper"),
    ]
    accepted = [user.send(session, content, agent) for content, agent in questions]
    with user.events(session, cursor="0") as stream:
        events: list[Event] = []
        for _ in questions:
            events += stream.until(*ENDS)
    runs = [each["run_id"] for each in accepted]
    assert [event.body["run_id"] for event in events if event.type in ENDS] == runs
    told = snapshot(events)
    assert sorted(told, key=lambda each: each["id"]) == sorted(stored(user, session), key=lambda each: each["id"])
    # Questions are told as they are sent, each answer after its own question.
    answers = {each["run_id"]: each["content"] for each in told if each["role"] == "assistant"}
    assert list(answers) == [run for run in runs if run in answers]
    assert texts(events) == answers
    assert set(runs) - set(answers) == {runs[4]}


def test_an_old_snapshot_and_the_events_since_are_a_new_snapshot(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    for number in range(2):
        user.answered(session, f"question {number}")
    old = stored(user, session)
    accepted = user.send(session, "[say=new] question 2")
    with user.events(accepted["events_url"]) as stream:
        new = snapshot(stream.until("run_completed"))
    assert old + new == stored(user, session)


def test_the_address_of_a_message_leads_to_its_own_events_only(user: ApiClient, talk: Talk, store: redis.Redis) -> None:
    user.make_agent()
    for client in (user, user.inside(user.get("/my/projects/").json()["items"][0]["id"])):
        session = client.make_session()["id"]
        buffer = talk.scope.key.session_events(UUID(session))
        for number in range(3):
            newest = [entry_id.decode() for entry_id, _ in store.xrevrange(buffer, count=1)]
            accepted = client.send(session, f"[tokens=4] question {number}")
            url, _, cursor = accepted["events_url"].partition("?last_event_id=")
            assert url == f"{client.prefix}/chat/{session}/events/"
            assert [cursor] == (newest or ["0"])
            with client.events(accepted["events_url"]) as stream:
                events = stream.until("run_completed")
            assert {event.body["run_id"] for event in events} == {accepted["run_id"]}
            assert events[0].type == "message_created"
            assert events[0].payload["message_id"] == accepted["message_id"]


def test_the_address_of_a_held_message_leads_past_the_end_of_the_one_before(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    first = user.send(session, "[delay=1.0] [say=one] first")
    second = user.send(session, "[say=two] second")
    assert second["status"] == "held"
    with user.events(second["events_url"]) as stream:
        events = stream.until("run_completed") + stream.until("run_completed")
    own = [event for event in events if event.body["run_id"] == second["run_id"]]
    assert events[0].payload["message_id"] == second["message_id"]
    assert [event.type for event in own if event.type.startswith(("message", "run"))] == [
        "message_created",
        "message_created",
        "run_completed",
    ]
    assert {event.body["run_id"] for event in events} == {first["run_id"], second["run_id"]}


def test_a_failure_is_told_as_it_is_stored(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "[fail=400] no")
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_failed")
    run = user.wait_for_run(accepted, status="failed")
    assert events[-1].payload["error"] == run["error"]
    (task,) = (event for event in events if event.type == "task_failed")
    assert task.payload["error"] == run["error"]


def test_a_deleted_agents_runs_are_told_as_cancelled(user: ApiClient) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "[silent=60] never answered")
    with user.events(accepted["events_url"]) as stream:
        stream.until("task_started")
        assert user.delete(f"agents/{agent['id']}/").status_code == 204
        cancelled = stream.until("run_cancelled")[-1]
    assert cancelled.body["run_id"] == accepted["run_id"]
    assert cancelled.payload["error"]["error_code"] == "agent_deleted"
    assert user.wait_for_run(accepted, status="cancelled")["error"] == cancelled.payload["error"]
