"""A plan that its owner is asked about waits without holding anything, and goes on, or ends, with the answer."""

import pytest

from tests.integration.orchestrated.steps import Json, Request, configure, events_of, own, replies, send, types
from tests.integration.runs.steps import cancelled
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


@pytest.fixture
def session(user: ApiClient) -> str:
    """A session in a project that asks before each plan."""
    user.make_agent()
    configure(user, plan_approval="always")
    return str(user.make_session()["id"])


def asked(user: ApiClient, accepted: Json) -> str:
    """Wait until the owner is asked about a plan, and return the approval's id."""

    def look() -> str | None:
        items = user.get("approvals/", status="pending").json()["items"]
        return next((item["id"] for item in items if item["run_id"] == accepted["run_id"]), None)

    return eventually(look, "the question about the plan")


def answer(user: ApiClient, approval: str, decision: str, **more: str) -> None:
    response = user.post(f"approvals/{approval}/confirm/", {"decision": decision, **more})
    assert response.status_code == 200, response.text


def test_a_plan_waits_for_its_owner_and_runs_when_it_is_approved(
    user: ApiClient, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": []}).work("a", say="approved work")
    accepted = send(user, session, request)
    approval = asked(user, accepted)
    events = events_of(user, accepted, "task_waiting")
    assert types(events) == [
        "message_created",
        "task_started",
        "task_plan_created",
        "plan_request",
        "approval_required",
        "task_waiting",
    ]
    by_type = {event.type: event.payload for event in events}
    assert by_type["task_plan_created"]["needs_approval"] is True
    assert by_type["plan_request"]["plan"] == by_type["task_plan_created"]["plan"]
    assert by_type["plan_request"]["approval_id"] == by_type["approval_required"]["approval_id"] == approval
    run = user.run(accepted["run_id"])
    assert (run["status"], [task["status"] for task in run["tasks"]]) == ("waiting", ["waiting"])
    answer(user, approval, "approve")
    assert user.wait_for_run(accepted)["status"] == "completed"
    assert replies(user, session) == [("@orchestrator", "approved work")]
    assert len(own(events_of(user, accepted), "task_completed")) == 2


def test_a_plan_is_made_once_however_often_its_task_is_started(user: ApiClient, session: str, standin: Standin) -> None:
    request = Request(standin).plan({"a": []}).work("a", say="once")
    accepted = send(user, session, request)
    answer(user, asked(user, accepted), "approve")
    user.wait_for_run(accepted)
    plans = [event for event in events_of(user, accepted) if event.type == "task_plan_created"]
    assert len(plans) == 1
    asked_to_plan = [body for body in standin.requests(limit=200) if "response_format" in body]
    assert len([body for body in asked_to_plan if request.word in str(body["messages"])]) == 1


def test_a_rejected_plan_ends_its_run_with_the_owners_reason_and_lets_the_session_go_on(
    user: ApiClient, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": []})
    accepted = send(user, session, request)
    approval = asked(user, accepted)
    behind = user.send(session, "[say=after it]")
    assert behind["status"] == "held"
    answer(user, approval, "reject", reason="too dear")
    run = user.wait_for_run(accepted, status="cancelled")
    assert run["error"]["error_code"] == "plan_rejected"
    assert "too dear" in run["error"]["detail"]
    assert [task["status"] for task in run["tasks"]] == ["cancelled"]
    user.wait_for_run(behind)
    assert replies(user, session) == [("helper", "after it")]


def test_a_run_is_cancelled_while_its_plan_waits_for_an_answer(user: ApiClient, session: str, standin: Standin) -> None:
    accepted = send(user, session, Request(standin).plan({"a": []}))
    approval = asked(user, accepted)
    assert cancelled(user, accepted["run_id"])["status"] == "cancelled"
    assert user.get(f"approvals/{approval}/").json()["status"] == "cancelled"
    end = events_of(user, accepted)[-1]
    assert (end.type, end.payload["outcome"]) == ("run_cancelled", None), "nothing of the plan was ever begun"
    assert user.run(accepted["run_id"])["outcome"] is None
