"""What becomes of a message whose session has a run that waits for its owner."""

import pytest

from tests.integration.approvals.steps import (
    append,
    ask,
    calls_of,
    confirm,
    confirmed,
    content_of,
    make_agent,
    marked,
    plot,
    requests_for,
)
from tests.integration.runs.steps import post, runs_of
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack


def test_messages_that_come_meanwhile_are_answered_after_it_in_their_order(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, f"{append('log.txt', 'x')} [say=first]")
    later = [user.send(one.session, f"[say={word}]") for word in ("second", "third")]
    assert [each["status"] for each in later] == ["held", "held"]
    why = user.run(later[0]["run_id"])["why"]
    assert (why["code"], why["run_id"]) == ("session", one.run_id)
    user.answered(user.make_session()["id"], "[say=elsewhere]")
    assert user.run(later[0]["run_id"])["status"] == "queued"
    confirmed(user, one.id)
    user.wait_for_run(later[1])
    assert [m["content"] for m in user.messages(one.session, role="assistant")] == ["first", "second", "third"]
    runs = runs_of(user, one.session)
    assert [run["status"] for run in runs] == ["completed"] * 3
    assert runs[0]["finished_at"] <= runs[1]["started_at"]


def test_a_message_that_asks_for_it_is_refused_and_the_question_stays(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    before = user.messages(one.session)
    error(post(user, one.session, "now or never", on_busy="reject"), 409, "session_busy")
    assert user.messages(one.session) == before
    assert one.now() == one.approvals[0]
    confirmed(user, one.id)
    one.completed()
    assert post(user, one.session, "[say=now]", on_busy="reject").status_code == 202


def test_an_interrupt_ends_it_with_its_question_and_what_it_was_about_to_do(user: ApiClient, standin: Standin) -> None:
    make_agent(user)
    one = ask(user, f"[say=I write.] {append('log.txt', 'x')} [then] [say=done]")
    instead = marked("[say=instead]")
    second = post(user, one.session, instead, on_busy="interrupt")
    assert second.status_code == 202, second.text
    user.wait_for_run(second.json())
    run = user.wait_for_run(one.run_id, status="cancelled")
    assert run["error"]["error_code"] == "cancelled"
    assert run["tasks"][0]["status"] == "cancelled"
    assert run["usage"] == run["tasks"][0]["usage"]
    assert run["usage"]["total_tokens"] > 0
    approval = one.now()
    assert (approval["status"], approval["decision"]) == ("cancelled", None)
    assert approval["resolved_at"] is not None
    (call,) = calls_of(user, one.run_id)
    assert (call["status"], call["started_at"]) == ("failed", None)
    assert call["result"]["error"]["code"] == "cancelled"
    for decision in ("approve", "reject"):
        error(confirm(user, one.id, decision), 409, "approval_already_decided")
    error(user.post(f"approvals/{one.id}/extend/", {}), 409, "approval_already_decided")
    assert content_of(user, "log.txt") is None
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    told = plot(events, one.run_id)
    assert told[told.index("task_waiting") :] == [
        "task_waiting",
        "approval_resolved",
        "message_created",
        "run_cancelled",
    ]
    (resolved,) = [event.payload for event in events if event.type == "approval_resolved"]
    assert (resolved["approval_id"], resolved["status"], resolved["decision"]) == (one.id, "cancelled", None)
    # What it said is kept, and the next answer knows it.
    conversation = [("user", one.content), ("assistant", "I write."), ("user", instead)]
    (request,) = requests_for(standin, instead)
    assert [(m["role"], m["content"]) for m in request["messages"] if m["role"] != "system"] == conversation
