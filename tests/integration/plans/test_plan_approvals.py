"""A plan waits for its owner, who may approve it, change it, reject it, or say nothing."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from models import ApprovalRequest, utc_now
from models.statuses import TaskStatus
from models.tenancy import Database
from orchestrator.plan_approvals import Approved, Declined, events
from settings import load_settings
from tests.conftest import MakeUser
from tests.integration.plans.planned import TIMEOUT, PlannedRun, planned
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.waiting import eventually
from workspace.errors import ErrorCode
from workspace.events import ApprovalRequired, PlanRequest

pytestmark = pytest.mark.stack


def confirm(one: PlannedRun, approval_id: str, decision: str = "approve", **more: Any) -> httpx.Response:
    return one.user.post(f"approvals/{approval_id}/confirm/", {"decision": decision, **more})


def approval(one: PlannedRun, approval_id: str) -> dict[str, Any]:
    body: dict[str, Any] = one.user.get(f"approvals/{approval_id}/").json()
    return body


def row_of(database: Database, approval_id: str) -> ApprovalRequest:
    with database.system_session("a test looks") as session:
        return session.get_one(ApprovalRequest, UUID(approval_id))


def went_on(one: PlannedRun) -> bool:
    return one.task().status is not TaskStatus.WAITING


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_a_plan_is_asked_about_with_all_that_it_is(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    asked = approval(one, one.ask("It is complex."))

    assert (asked["type"], asked["status"], asked["timeout"]) == ("plan", "pending", TIMEOUT)
    assert (asked["task_id"], asked["tool_call_id"], asked["answer"]) == (str(one.task_id), None, None)
    payload = asked["payload"]
    assert payload["plan"] == one.view.model_dump(mode="json")
    assert payload["tools"] == {"helper": ["write_file"]}
    assert (payload["risk"], payload["reasons"], payload["tool"]) == ("high", ["It is complex."], None)
    assert payload["arguments"]["tasks"] == 3
    assert one.verdict() is None


def test_a_plan_is_asked_about_once_however_often_that_is_tried(user: ApiClient, database: Database) -> None:
    one = planned(user, database)

    assert one.ask() == one.ask()
    assert user.get("approvals/", run_id=str(one.run_id)).json()["total"] == 1


def test_the_events_say_what_is_asked_and_until_when(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    row = row_of(database, one.ask())
    request, asked = events(row)

    assert isinstance(request, PlanRequest)
    assert (request.approval_id, request.plan) == (row.id, one.view)
    assert isinstance(asked, ApprovalRequired)
    assert (asked.tool, asked.tool_call_id, asked.agent_id, asked.agent_name) == (None, None, None, "@orchestrator")
    assert asked.expires_at == row.expires_at


def test_plans_are_found_by_their_type_and_counted(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()

    found = user.get("approvals/", type="plan", status="pending").json()["items"]
    assert [each["id"] for each in found] == [approval_id]
    assert user.get("approvals/", type="tool").json()["items"] == []
    confirm(one, approval_id)
    metrics = user.get("approvals/metrics/").json()
    assert (metrics["total"], metrics["approval_rate"]) == (1, 1.0)


def test_the_run_says_that_it_waits_for_the_answer(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    why = user.run(str(one.run_id))["why"]

    assert (why["code"], why["approval_ids"]) == ("approval", [approval_id])
    assert why["detail"] == "The orchestrator waits for your answer to its plan."


# -- yes and no -------------------------------------------------------------------------------------------------------


def test_a_plan_that_is_approved_goes_on_as_it_is(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    answer = confirm(one, approval_id, reason="Go on.")

    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["answer"]) == ("approved", None)
    assert one.verdict() == Approved(one.view)
    assert went_on(one)


def test_a_batch_approves_plans_as_they_are(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    answer = user.post("approvals/batch/", {"ids": [one.ask()], "decision": "approve"})

    assert [item["status"] for item in answer.json()["items"]] == ["approved"]
    assert one.verdict() == Approved(one.view)
    assert went_on(one)


def test_a_rejected_plan_tells_why(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    assert confirm(one, one.ask(), "reject", reason="Too long.").json()["status"] == "rejected"

    verdict = one.verdict()
    assert isinstance(verdict, Declined)
    assert verdict.failure.code is ErrorCode.PLAN_REJECTED
    assert verdict.failure.detail == "The owner does not want the plan. They say: Too long."
    assert went_on(one)


def test_the_second_answer_is_refused(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    assert confirm(one, approval_id).status_code == 200

    error(confirm(one, approval_id, "reject"), 409, "approval_already_decided")
    error(confirm(one, approval_id, edits={"drop": ["look"]}), 409, "approval_already_decided")
    assert one.verdict() == Approved(one.view)


def test_nobody_else_finds_it(user: ApiClient, database: Database, make_user: MakeUser) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    stranger = make_user()
    for body in ({"decision": "approve"}, {"decision": "approve", "edits": {"drop": ["look"]}}):
        error(stranger.post(f"approvals/{approval_id}/confirm/", body), 404, "not_found")
    assert one.verdict() is None


def test_a_plan_that_is_not_what_was_asked_about_does_not_run(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    payload = row_of(database, approval_id).payload
    payload["plan"]["tasks"][0]["instruction"] = "Something else."
    with database.system_session("a test changes rows") as session:
        session.execute(update(ApprovalRequest).where(ApprovalRequest.id == UUID(approval_id)).values(payload=payload))
        session.commit()
    confirm(one, approval_id)

    assert isinstance(one.verdict(), Declined)


# -- deadlines --------------------------------------------------------------------------------------------------------


def move_deadline(database: Database, approval_id: str, seconds: float) -> None:
    with database.system_session("a test changes rows") as session:
        session.execute(
            update(ApprovalRequest)
            .where(ApprovalRequest.id == UUID(approval_id))
            .values(expires_at=utc_now() + timedelta(seconds=seconds))
        )
        session.commit()


def test_the_sweeper_declines_a_plan_that_nobody_answers(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    move_deadline(database, approval_id, -1)
    eventually(lambda: went_on(one), "the planning task to go on")

    verdict = one.verdict()
    assert isinstance(verdict, Declined)
    assert verdict.failure.code is ErrorCode.APPROVAL_EXPIRED
    error(confirm(one, approval_id, edits={"drop": ["look"]}), 409, "approval_expired")


def test_its_owner_is_warned_before_the_end_and_may_take_more_time(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    with user.events(str(one.session_id), cursor="0") as stream:
        move_deadline(database, approval_id, load_settings().approval_warning - 5)
        stream.until("approval_expiring")
    extended = user.post(f"approvals/{approval_id}/extend/", {})

    assert (extended.status_code, extended.json()["timeout"]) == (200, 2 * TIMEOUT)


def test_cancelling_the_run_closes_the_question(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    assert user.post(f"runs/{one.run_id}/cancel/", {}).json()["status"] == "cancelled"

    assert approval(one, approval_id)["status"] == "cancelled"
    error(confirm(one, approval_id), 409, "approval_already_decided")
