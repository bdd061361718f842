"""An owner who does not answer: the question ends at its time, the model is told, and the run goes on."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from models import ApprovalRequest, utc_now
from models.tenancy import Database
from tests.integration.approvals.conftest import TIMEOUT
from tests.integration.approvals.steps import (
    TRUSTED,
    Asked,
    Json,
    append,
    approvals_of,
    ask,
    calls_of,
    confirm,
    confirmed,
    error_codes,
    make_agent,
    only,
    plot,
    told,
)
from tests.integration.runs.own_system import OwnSystem
from tests.integration.runs.test_why import no_sweeps
from tests.support.answers import error, refused
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def when(row: Json, name: str) -> datetime:
    return datetime.fromisoformat(row[name])


def test_nobody_answers_and_the_run_goes_on_at_the_deadline(hurried: OwnSystem, standin: Standin) -> None:
    user = hurried.user()
    make_agent(user)
    one = ask(user, f"{append('log.txt', 'x')} [on_error=Nobody said a word.] [say=done]")
    (asking,) = one.approvals
    assert asking["timeout"] == TIMEOUT
    assert when(asking, "expires_at") - when(asking, "created_at") == timedelta(seconds=TIMEOUT)
    extended = ask(user, append("other.txt", "x"))
    with user.events(extended.accepted["events_url"]) as stream:
        stream.until("approval_expiring", within=3 * TIMEOUT)
        answer = user.post(f"approvals/{extended.id}/extend/", {"seconds": 2 * TIMEOUT})
        assert answer.status_code == 200, answer.text
        told_of = only(stream.until("approval_extended"), "approval_extended").payload
    longer = answer.json()
    assert longer["timeout"] == 3 * TIMEOUT
    assert when(longer, "expires_at") - when(longer, "created_at") == timedelta(seconds=3 * TIMEOUT)
    assert told_of == {"approval_id": extended.id, **{name: longer[name] for name in ("timeout", "expires_at")}}
    one.completed()
    # Who was given more time has it.
    assert extended.now()["status"] == "pending"
    approval = one.now()
    assert (approval["status"], approval["decision"], approval["reason"]) == ("expired", None, None)
    late = when(approval, "resolved_at") - when(approval, "expires_at")
    assert timedelta(0) <= late < timedelta(seconds=4), "the sweep runs each second here"
    (result,) = told(standin, one.content)
    assert (result["ok"], result["error"]["code"]) == (False, "approval_expired")
    assert user.messages(one.session)[-1]["content"] == "Nobody said a word."
    (call,) = calls_of(user, one.run_id)
    assert (call["status"], call["started_at"], call["result"]) == ("expired", None, result)
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    assert plot(events, one.run_id)[4:10] == [
        "approval_required",
        "task_waiting",
        "approval_expiring",
        "approval_resolved",
        "tool_result",
        "task_started",
    ]
    expiring = only(events, "approval_expiring").payload
    assert (expiring["approval_id"], expiring["expires_at"]) == (one.id, approval["expires_at"])
    assert 0 < expiring["seconds_left"] <= TIMEOUT / 2
    assert only(events, "approval_resolved").payload["status"] == "expired"
    # It is announced once more before its new end.
    with user.events(extended.accepted["events_url"]) as stream:
        for _ in range(2):
            stream.until("approval_expiring", within=5 * TIMEOUT)
    confirmed(user, extended.id)
    extended.completed()
    assert calls_of(user, extended.run_id)[0]["status"] == "succeeded"


@pytest.fixture
def late(hurried: OwnSystem) -> Iterator[Asked]:
    """A question whose time is over, which no sweep has seen."""
    user = hurried.user()
    make_agent(user)
    with no_sweeps(hurried.database):
        one = ask(user, append(TRUSTED, "x"))
        expire(hurried.database, one.id)
        yield one


def expire(database: Database, approval_id: str) -> None:
    """Let a question's time be over."""
    with database.system_session("a test changes rows") as session:
        session.execute(
            update(ApprovalRequest)
            .where(ApprovalRequest.id == approval_id)
            .values(expires_at=utc_now())
            .execution_options(synchronize_session=False)
        )
        session.commit()


def test_a_question_whose_time_is_over_says_so_at_once(late: Asked) -> None:
    user = late.user
    assert late.now()["status"] == "expired"
    for status, found in (("expired", [late.now()]), ("pending", []), ("approved", [])):
        assert approvals_of(user, run_id=late.run_id, status=status) == found
    assert user.run(late.run_id)["status"] == "waiting", "only a sweep, or an answer, ends it"


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_an_answer_that_comes_too_late_is_refused_and_the_run_goes_on(
    late: Asked, decision: str, standin: Standin
) -> None:
    error(confirm(late.user, late.id, decision, remember={"scope": "project"}), 409, "approval_expired")
    late.completed()
    assert error_codes(told(standin, late.content)) == ["approval_expired"]
    approval = late.now()
    assert (approval["status"], approval["decision"]) == ("expired", None)
    assert calls_of(late.user, late.run_id)[0]["started_at"] is None
    assert late.user.get("approvals/grants/").json()["items"] == []
    error(confirm(late.user, late.id, decision), 409, "approval_expired")


def test_more_time_cannot_be_taken_when_it_is_over(late: Asked) -> None:
    error(late.user.post(f"approvals/{late.id}/extend/", {"seconds": 600}), 409, "approval_expired")
    late.completed()
    assert late.now()["status"] == "expired"


def test_a_batch_tells_which_answers_came_too_late(late: Asked) -> None:
    in_time = ask(late.user, append(TRUSTED, "x"))
    body = {"ids": [late.id, in_time.id], "decision": "approve"}
    first, second = late.user.post("approvals/batch/", body).json()["items"]
    assert (first["status"], first["error_code"]) == (None, "approval_expired")
    assert (second["status"], second["error_code"]) == ("approved", None)
    for one in (late, in_time):
        one.completed()


def test_more_time_is_for_open_questions_and_has_bounds(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    for seconds in (0, -1, 86_401, "soon", 1.5):
        refused(user.post(f"approvals/{one.id}/extend/", {"seconds": seconds}))
    assert one.now() == one.approvals[0]
    assert user.post(f"approvals/{one.id}/extend/", {}).json()["timeout"] == 600, "as much again"
    for _ in range(2):
        answer = user.post(f"approvals/{one.id}/extend/", {"seconds": 86_400}).json()
    assert answer["timeout"] == 86_400, "no longer than a run may last"
    confirmed(user, one.id)
    one.completed()
    error(user.post(f"approvals/{one.id}/extend/", {}), 409, "approval_already_decided")
    assert (one.now()["timeout"], one.now()["status"]) == (86_400, "approved")


def test_what_risks_more_has_more_time(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, f"{append('log.txt', 'x')} {append(TRUSTED, 'x')}", count=2)
    assert [approval["timeout"] for approval in one.approvals] == [300, 600]
    for approval in one.ids:
        confirmed(user, approval, "reject")
    eventually(lambda: user.run(one.run_id)["status"] == "completed", "the run's end")
