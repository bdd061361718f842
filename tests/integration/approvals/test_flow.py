"""An agent asks, its owner answers, and the run goes on: on the stream, in the rows, and with the model."""

import pytest
from sqlalchemy import select

from models import TaskTurn
from models.tenancy import Database
from tests.integration.approvals.steps import (
    append,
    approval_of,
    approvals_of,
    ask,
    calls_of,
    confirm,
    confirmed,
    content_of,
    error_codes,
    make_agent,
    marked,
    next_question,
    only,
    plot,
    requests_for,
    told,
    write,
)
from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack


def test_what_was_approved_is_done_and_told_on_the_stream_as_in_the_rows(user: ApiClient) -> None:
    agent = make_agent(user)
    session = user.make_session()["id"]
    content = marked(f"[say=I write.] {write('docs/a.md', 'hello')} [then] [say=It is written.]")
    accepted = user.send(session, content)
    with user.events(accepted["events_url"]) as stream:
        before = stream.until("agent_status_changed") + stream.until("agent_status_changed")
        asking = only(before, "approval_required")
        approval = approval_of(user, asking.payload["approval_id"])
        (call,) = calls_of(user, accepted["run_id"])
        assert user.run(accepted["run_id"])["status"] == "waiting"
        assert content_of(user, "docs/a.md") is None, "it was done before it was approved"
        answer = confirmed(user, approval["id"], reason="go ahead")
        after = stream.until("run_completed")
    assert plot(before + after, accepted["run_id"]) == [
        "message_created",
        "direct_agent_call",
        "task_started",
        "context_retrieved",
        "task_progress",
        "approval_required",
        "task_waiting",
        "approval_resolved",
        "task_started",
        "tool_result",
        "task_progress",
        "task_completed",
        "message_created",
        "run_completed",
    ]
    assert content_of(user, "docs/a.md") == "hello"
    run = user.wait_for_run(accepted)
    assert [m["content"] for m in user.messages(session)] == [content, "It is written."]
    # The question: what the event says is what the rows say.
    assert approval["type"] == "tool"
    assert approval["status"] == "pending"
    assert approval["decision"] is approval["reason"] is approval["resolved_at"] is None
    assert approval["payload"] == {
        "tool": "write_file",
        "arguments": {"path": "docs/a.md", "content": "hello", "mode": "overwrite"},
        "risk": "medium",
        "reasons": ["writes docs/a.md"],
        "agent_id": agent["id"],
        "agent_name": "helper",
        "ask": 1,
    }
    in_both = ("tool", "arguments", "risk", "reasons", "agent_id", "agent_name", "ask")
    assert {name: asking.payload[name] for name in in_both} == approval["payload"]
    assert asking.payload["arguments_complete"] is True
    for name in ("type", "tool_call_id", "timeout", "expires_at"):
        assert asking.payload[name] == approval[name], name
    for event in (asking, only(before, "task_waiting"), only(after, "approval_resolved"), only(after, "tool_result")):
        of = (event.body["session_id"], event.body["run_id"], event.body["task_id"])
        assert of == (approval["session_id"], approval["run_id"], approval["task_id"])
        assert of == (session, accepted["run_id"], accepted["task_id"])
    waiting = only(before, "task_waiting").payload
    assert (waiting["reason"], waiting["agent_name"]) == ("approval", "helper")
    assert "write_file" in waiting["detail"]
    # The answer.
    assert (answer["status"], answer["decision"], answer["reason"]) == ("approved", "approve", "go ahead")
    assert answer["resolved_at"] is not None
    assert approval_of(user, approval["id"]) == answer
    assert approvals_of(user, run_id=accepted["run_id"]) == [answer]
    resolved = only(after, "approval_resolved").payload
    assert resolved == {
        "approval_id": answer["id"],
        **{name: answer[name] for name in ("type", "status", "decision", "reason", "tool_call_id")},
    }
    # The call.
    assert call["id"] == approval["tool_call_id"]
    assert (call["status"], call["result"]) == ("awaiting_approval", None)
    (call,) = calls_of(user, accepted["run_id"])
    assert (call["status"], call["grant_id"], call["execution"]) == ("succeeded", None, "server")
    assert call["result"] == {"ok": True, "output": {"path": "docs/a.md", "size": 5, "created": True}}
    assert approval["created_at"] < answer["resolved_at"] < call["started_at"] < call["finished_at"]
    result = only(after, "tool_result").payload
    assert result["tool_call_id"] == call["id"]
    assert (result["status"], result["error_code"]) == ("succeeded", None)
    starts = [event.payload["attempt"] for event in before + after if event.type == "task_started"]
    assert starts == [1, 2]
    assert run["why"] is None


def test_a_reason_for_a_no_is_told_to_the_model_which_goes_on(user: ApiClient, standin: Standin) -> None:
    make_agent(user)
    content = f"{write('b.md')} [on_error=Then not: {{result.error.detail}}] [say=done]"
    one = ask(user, content)
    answer = confirmed(user, one.id, "reject", reason="Not on a Friday.")
    assert (answer["status"], answer["decision"], answer["reason"]) == ("rejected", "reject", "Not on a Friday.")
    one.completed()
    (result,) = told(standin, one.content)
    assert result["ok"] is False
    assert result["error"]["code"] == "rejected"
    assert "Not on a Friday." in result["error"]["detail"]
    assert "Not on a Friday." in user.messages(one.session)[-1]["content"]
    (call,) = calls_of(user, one.run_id)
    assert (call["status"], call["started_at"], call["result"]) == ("rejected", None, result)
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    assert only(events, "approval_resolved").payload["reason"] == "Not on a Friday."
    assert only(events, "tool_result").payload["error_code"] == "rejected"
    assert content_of(user, "b.md") is None


def test_an_answer_that_makes_no_sense_leaves_the_question_open(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, write("c.md"))
    for body in (
        {},
        {"decision": "maybe"},
        {"decision": "approve", "reason": ""},
        {"decision": "approve", "who": "me"},
    ):
        refused(user.post(f"approvals/{one.id}/confirm/", body))
    refused(user.post("approvals/batch/", {"ids": [], "decision": "approve"}))
    assert one.now()["status"] == "pending"
    confirmed(user, one.id)
    one.completed()
    error(confirm(user, one.id), 409, "approval_already_decided")


def test_a_yes_opens_no_wall(user: ApiClient, standin: Standin) -> None:
    make_agent(user)
    content = f"{write('../outside.md')} {write('program.exe')} [say=done]"
    one = ask(user, content, count=2)
    for approval in one.approvals:
        assert approval["payload"]["risk"] == "high"
        confirmed(user, approval["id"])
    one.completed()
    assert error_codes(told(standin, one.content)) == ["invalid_path", "forbidden_file_type"]


def test_the_usage_of_all_turns_is_summed(user: ApiClient, standin: Standin, database: Database) -> None:
    make_agent(user)
    content = f"[tokens=7] {write('d.md')} [then] [tokens=11] {append('d.md', 'more')} [then] [tokens=13]"
    one = ask(user, content)
    first = user.run(one.run_id)["tasks"][0]["usage"]
    confirmed(user, one.id)
    confirmed(user, next_question(user, one.run_id, after=one.id)["id"])
    run = one.completed()
    turns = [standin.usage_of(request) for request in requests_for(standin, one.content)]
    assert len(turns) == 3
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert first[name] == turns[0][name]
        assert run["usage"][name] == run["tasks"][0]["usage"][name] == sum(turn[name] for turn in turns)
    assert float(run["usage"]["cost_usd"]) > 0
    with database.system_session("a test looks") as session:
        rows = session.scalars(select(TaskTurn).where(TaskTurn.task_id == one.accepted["task_id"]))
        kept = [(turn.number, turn.usage["total_tokens"]) for turn in sorted(rows, key=lambda turn: turn.number)]
    assert kept == [(1, turns[0]["total_tokens"]), (2, turns[1]["total_tokens"])]
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    assert only(events, "run_completed").payload["usage"] == run["usage"]
    assert only(events, "task_completed").payload["usage"] == run["usage"]


def test_the_next_message_sees_the_answer_and_nothing_of_the_tools(user: ApiClient, standin: Standin) -> None:
    make_agent(user)
    content = f"[say=I begin.] {write('e.md')} [then] [say=I am done.]"
    one = ask(user, content)
    confirmed(user, one.id)
    one.completed()
    second = marked("[say=I know.] and now?")
    user.answered(one.session, second)
    (request,) = requests_for(standin, second)
    said = [(m["role"], m["content"]) for m in request["messages"] if m["role"] != "system"]
    assert said == [("user", one.content), ("assistant", "I am done."), ("user", second)]
    assert [m["content"] for m in user.messages(one.session, role="assistant")] == ["I am done.", "I know."]
