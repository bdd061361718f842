"""One message, answered by one named agent, over the real stack."""

import pytest

from tests.conftest import MakeUser
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

STORY = [
    "message_created",
    "direct_agent_call",
    "agent_status_changed",
    "task_started",
    "context_retrieved",
    "task_progress",
    "task_completed",
    "message_created",
    "run_completed",
    "agent_status_changed",
]


def test_a_message_is_answered_streamed_and_stored(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "hello [say=Good morning to you]")
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_completed") + stream.until("agent_status_changed")
    types = [event.type for event in events]
    assert [kind for kind in types if kind != "task_progress"] == [kind for kind in STORY if kind != "task_progress"]
    pieces = [event.payload for event in events if event.type == "task_progress"]
    assert "".join(piece["text"] for piece in pieces) == "Good morning to you"
    assert [piece["offset"] for piece in pieces] == [
        sum(len(earlier["text"]) for earlier in pieces[:index]) for index in range(len(pieces))
    ]
    assert [(m["role"], m["content"]) for m in user.messages(session)] == [
        ("user", "hello [say=Good morning to you]"),
        ("assistant", "Good morning to you"),
    ]


def test_usage_and_cost_are_recorded_by_the_price_of_the_model(user: ApiClient) -> None:
    user.make_agent()
    run = user.wait_for_run(user.send(user.make_session()["id"], "[tokens=20]"))
    usage = run["usage"]
    assert usage["completion_tokens"] == 20
    assert usage["total_tokens"] == usage["prompt_tokens"] + 20
    expected = (usage["prompt_tokens"] * 0.15 + 20 * 0.6) / 1_000_000
    assert float(usage["cost_usd"]) == pytest.approx(expected)
    assert run["tasks"][0]["usage"] == usage


def test_the_model_is_shown_the_last_ten_messages_and_the_prompt_of_the_agent(
    user: ApiClient, standin: Standin
) -> None:
    # What falls out of these ten would be a memory that the prompt shows.
    agent = user.make_agent(system_prompt="You are a parrot.", temperature=0.5, memory={"enabled": False})
    session = user.make_session()["id"]
    for number in range(7):
        user.answered(session, f"[say=answer {number}] question {number}")
    requests = [r for r in standin.requests(50) if "question 6" in str(r["messages"][-1]["content"])]
    messages = requests[-1]["messages"]
    assert messages[0] == {"role": "system", "content": "You are a parrot."}
    assert len(messages) == 11
    assert messages[-1] == {"role": "user", "content": "[say=answer 6] question 6"}
    assert messages[-2] == {"role": "assistant", "content": "answer 5"}
    assert requests[-1]["temperature"] == 0.5
    assert agent["version"] == 1


def test_runs_of_a_session_are_answered_in_the_order_of_their_messages(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=5)
    session = user.make_session()["id"]
    accepted = [user.send(session, f"[delay=0.2] [say=answer {number}]") for number in range(4)]
    assert accepted[0]["status"] == "queued"
    assert [one["status"] for one in accepted[1:]] == ["held"] * 3
    for one in accepted:
        user.wait_for_run(one)
    contents = [m["content"] for m in user.messages(session) if m["role"] == "assistant"]
    assert contents == [f"answer {number}" for number in range(4)]
    assert standin.witness(agent["id"])["max"] == 1


def test_a_refusal_of_the_model_fails_the_run_honestly_and_marks_the_agent(user: ApiClient) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "[fail=400]")
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_failed") + stream.until("agent_status_changed")
    run = user.wait_for_run(accepted, status="failed")
    assert run["error"]["error_code"] == "model_error"
    assert run["error"]["retryable"] is False
    failed = next(event for event in events if event.type == "run_failed")
    assert failed.payload["error"] == run["error"]
    assert any(event.type == "task_failed" for event in events)
    assert user.get(f"agents/{agent['id']}/").json()["status"] == "error"
    user.answered(session, "[say=well again]")
    eventually(
        lambda: user.get(f"agents/{agent['id']}/").json()["status"] == "ready", "the agent to be ready after a success"
    )


def test_errors_that_may_pass_are_retried_and_tell_the_reader_to_start_over(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, f"[break=3x1] [gap=0.06] [tokens=8] {session}")
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    pieces = [event.payload for event in events if event.type == "task_progress"]
    assert {piece["attempt"] for piece in pieces} == {1, 2}
    second = [piece for piece in pieces if piece["attempt"] == 2]
    assert second[0]["offset"] == 0
    assert "".join(piece["text"] for piece in second) == user.messages(session)[-1]["content"]


def test_a_model_that_stays_away_fails_the_run_with_a_hint_to_retry(user: ApiClient) -> None:
    user.make_agent()
    run = user.wait_for_run(user.send(user.make_session()["id"], "[fail=503] [retry_after=3600]"), status="failed")
    assert run["error"]["error_code"] == "model_error"
    assert run["error"]["retryable"] is True
    assert run["error"]["retry_after"] == 3600


def test_a_task_ends_at_its_deadline_while_the_model_is_silent(user: ApiClient) -> None:
    user.make_agent(limits={"timeout_seconds": 1})
    run = user.wait_for_run(user.send(user.make_session()["id"], "[silent=30]"), status="failed")
    assert run["error"]["error_code"] == "deadline_exceeded"


def test_a_change_of_an_agent_is_seen_by_its_very_next_task(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(system_prompt="first")
    session = user.make_session()["id"]
    user.answered(session, f"one {session}")
    user.put(f"agents/{agent['id']}/", {"name": "helper", "system_prompt": "second"})
    user.answered(session, f"two {session}")
    prompts = [
        request["messages"][0]["content"]
        for request in standin.requests(50)
        if session in str(request["messages"][-1]["content"])
    ]
    assert prompts == ["first", "second"]


def test_agents_of_the_same_name_have_queues_of_their_own(make_user: MakeUser) -> None:
    first, second = make_user(), make_user()
    for one in (first, second):
        one.make_agent(concurrency_limit=1)
    slow = first.send(first.make_session()["id"], "[delay=3]")
    quick = second.send(second.make_session()["id"], "[say=at once]")
    second.wait_for_run(quick)
    assert first.run(slow["run_id"])["status"] in {"queued", "running"}


def test_a_session_deleted_in_the_middle_of_an_answer_stops_the_model_call(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    user.send(session, "[silent=60]")
    eventually(lambda: standin.witness(agent["id"])["current"] == 1, "the model to be called")
    assert user.delete(f"chat/sessions/{session}/").status_code == 204
    eventually(lambda: standin.witness(agent["id"])["current"] == 0, "the model call to end", within=3)
