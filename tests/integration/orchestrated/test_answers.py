"""A message without a target is planned, worked on by the team, and answered once."""

import pytest

from tests.integration.orchestrated.steps import Request, configure, events_of, own, post, replies, send, types
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack

FORK = {"a": [], "b": [], "c": []}


@pytest.fixture
def session(user: ApiClient) -> str:
    """A session in a project with one agent, which is asked for nothing."""
    user.make_agent(concurrency_limit=5)
    return str(user.make_session()["id"])


def test_a_single_last_task_has_the_answer(user: ApiClient, session: str, standin: Standin) -> None:
    request = Request(standin).plan({"a": [], "b": ["a"]}).work("a", say="draft").work("b", say="the answer")
    accepted = send(user, session, request)
    assert (accepted["mode"], accepted["status"], accepted["queue_position"]) == ("orchestrated", "queued", 0)
    events = events_of(user, accepted)
    assert replies(user, session) == [("@orchestrator", "the answer")]
    assert request.closing_calls() == []
    assert types(events)[:3] == ["message_created", "task_started", "task_plan_created"]
    assert types(events)[-3:] == ["task_completed", "message_created", "run_completed"]
    end = events[-1].payload
    assert (end["status"], [task["status"] for task in end["outcome"]["tasks"]]) == ("completed", ["completed"] * 2)
    run = user.run(accepted["run_id"])
    assert (run["mode"], run["status"]) == ("orchestrated", "completed")
    assert end["usage"] == run["usage"]
    assert run["usage"]["total_tokens"] == sum(task["usage"]["total_tokens"] for task in run["tasks"])


def test_the_orchestrators_own_tasks_name_no_agent(user: ApiClient, session: str, standin: Standin) -> None:
    request = Request(standin).plan({"a": []}).work("a", say="done")
    events = events_of(user, send(user, session, request))
    started = own(events, "task_started")
    assert [(each["agent_id"], each["plan_task_id"]) for each in started] == [(None, "_planning"), (None, "_closing")]
    assert [each["agent_id"] for each in own(events, "task_completed")] == [None, None]
    (reply,) = own(events, "message_created")
    assert (reply["agent_id"], reply["content"]) == (None, "done")


def test_several_ends_are_put_together_by_the_model_while_it_is_read(
    user: ApiClient, session: str, standin: Standin
) -> None:
    request = Request(standin).plan(FORK).answer(say="all three together", gap=0.05)
    for task in FORK:
        request.work(task, say=f"result {task}")
    accepted = send(user, session, request)
    events = events_of(user, accepted)
    assert replies(user, session) == [("@orchestrator", "all three together")]
    closing = [event for event in events if event.type == "task_started"][-1].body["task_id"]
    pieces = [event.payload for event in events if event.type == "task_progress" and event.body["task_id"] == closing]
    assert len(pieces) > 1
    assert "".join(piece["text"] for piece in pieces) == "all three together"
    (call,) = request.closing_calls()
    system = call["messages"][0]["content"]
    assert all(f'"text": "result {task}"' in system for task in FORK)
    run = user.run(accepted["run_id"])
    assert run["usage"]["total_tokens"] == sum(task["usage"]["total_tokens"] for task in run["tasks"])
    assert next(task for task in run["tasks"] if task["id"] == closing)["usage"]["total_tokens"] > 0


def test_finished_work_is_not_lost_where_the_model_cannot_put_it_together(
    user: ApiClient, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": [], "b": []}).work("a", say="one").work("b", say="two")
    request.answer(fail="400")
    accepted = send(user, session, request)
    assert user.wait_for_run(accepted)["status"] == "completed"
    assert replies(user, session) == [("@orchestrator", "## a (helper)\n\none\n\n## b (helper)\n\ntwo")]


def test_a_branch_that_failed_leaves_the_others_their_answer(user: ApiClient, session: str, standin: Standin) -> None:
    request = Request(standin).plan({"a": [], "b": [], "c": ["b"]}).work("a", say="left").work("b", fail="400")
    request.answer(fail="400")
    accepted = send(user, session, request)
    run = user.wait_for_run(accepted, status="partial")
    assert run["error"] is None
    (reply,) = replies(user, session)
    assert "left" in reply[1]
    assert "b (helper) failed" in reply[1]
    assert "c (helper) was skipped, because of b." in reply[1]


def test_a_plan_without_any_result_fails_and_says_what_failed(user: ApiClient, session: str, standin: Standin) -> None:
    request = Request(standin).plan({"a": [], "b": ["a"]}).work("a", fail="400")
    accepted = send(user, session, request)
    events = events_of(user, accepted)
    run = user.run(accepted["run_id"])
    assert (run["status"], run["error"]["error_code"]) == ("failed", "model_error")
    assert "a (helper) failed" in run["error"]["detail"]
    assert events[-1].type == "run_failed"
    assert [task["status"] for task in events[-1].payload["outcome"]["tasks"]] == ["failed", "skipped"]
    assert replies(user, session) == []


def test_a_planner_that_fails_loses_no_message(user: ApiClient, session: str, standin: Standin) -> None:
    request = Request(standin).plan({"a": []}, fail="400")
    events = events_of(user, send(user, session, request))
    (created,) = [event.payload for event in events if event.type == "task_plan_created"]
    assert created["plan"]["source"] == "fallback"
    assert events[-1].type == "run_completed"
    assert len(replies(user, session)) == 1


def test_a_project_without_agents_refuses_what_nobody_could_answer(user: ApiClient) -> None:
    session = user.make_session()["id"]
    body = error(post(user, session, "anybody?"), 422, "validation_error")
    assert "no agents" in str(body["detail"])
    assert user.messages(session) == []


def test_the_answer_comes_in_the_response_where_it_is_waited_for(
    user: ApiClient, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": []}).work("a", say="here")
    response = post(user, session, request.text, headers={"Prefer": "wait=30"})
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["mode"], body["run_status"], body["reply"]["content"]) == ("orchestrated", "completed", "here")
    assert body["usage"]["total_tokens"] > 0


def test_the_answer_waits_for_a_branch_that_goes_on_beside_what_was_skipped(
    user: ApiClient, session: str, standin: Standin
) -> None:
    """All that comes before the answer in the graph is over at once; the slow branch leads there through it."""
    graph = {"bad": [], "slow": [], "after": ["slow"], "both": ["bad", "after"]}
    request = Request(standin).plan(graph).work("bad", fail="400")
    request.work("slow", say="slow result", delay=0.5).work("after", say="late result", delay=0.5)
    configure(user, plan_approval="auto")
    run = user.wait_for_run(send(user, session, request), status="partial")
    told = {task["id"]: task["status"] for task in run["outcome"]["tasks"]}
    assert told == {"bad": "failed", "slow": "completed", "after": "completed", "both": "skipped"}
    (closing,) = request.closing_calls()
    assert "late result" in str(closing["messages"])
