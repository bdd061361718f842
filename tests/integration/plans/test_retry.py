"""A run that ended without its answer is done again: what has a result keeps it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from models import Message, Project, Run, Task, new_id
from models.statuses import MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from orchestrator.plans.graph import PlanGraph
from orchestrator.retrying import carried_results
from orchestrator.viewing import plan_of
from tests.conftest import MakeUser
from tests.integration.plans.planned import CHAIN, PlannedRun, ended, planned
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.locks import row_held
from tests.support.standin import Standin
from workspace.names import PLANNING_ID
from workspace.plans.view import PlanSource, PlanView, Range
from workspace.requested import request_of

pytestmark = pytest.mark.stack

PARTLY = {"look": TaskStatus.COMPLETED, "check": TaskStatus.FAILED, "write": TaskStatus.SKIPPED}


def retry(user: ApiClient, run_id: object, **options: Any) -> httpx.Response:
    return user.request("POST", f"runs/{run_id}/retry/", json={}, **options)


def retried(user: ApiClient, run_id: object) -> dict[str, Any]:
    answer = retry(user, run_id)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def partly(user: ApiClient, database: Database, status: RunStatus = RunStatus.PARTIAL) -> PlannedRun:
    """Return a run whose first task has a result, and the others none."""
    one = planned(user, database)
    ended(one, status, PARTLY)
    return one


def run_of(database: Database, accepted: dict[str, Any]) -> Run:
    with database.system_session("a test looks") as session:
        return session.get_one(Run, UUID(accepted["run_id"]))


def view_of_run(database: Database, accepted: dict[str, Any]) -> PlanView:
    return PlanView.model_validate(run_of(database, accepted).plan)


# -- what has a plan --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_plan_goes_on_as_a_new_run_of_the_same_message(
    user: ApiClient, database: Database, status: RunStatus
) -> None:
    one = partly(user, database, status)
    accepted = retried(user, one.run_id)
    run = run_of(database, accepted)

    assert (accepted["mode"], accepted["status"], accepted["queue_position"]) == ("orchestrated", "queued", 0)
    assert (run.retry_of, run.message_of, run.mode, run.status) == (
        *(one.run_id, one.run_id, RunMode.ORCHESTRATED, RunStatus.PLANNING),
    )
    with database.system_session("a test looks") as session:
        (task,) = session.scalars(select(Task).where(Task.run_id == run.id))
        (message,) = session.scalars(select(Message).where(Message.session_id == one.session_id))
    assert (task.plan_task_id, task.agent_id, task.status) == (PLANNING_ID, None, TaskStatus.QUEUED)
    assert str(message.id) == accepted["message_id"]


def test_its_plan_is_the_same_and_what_is_done_takes_nothing(user: ApiClient, database: Database) -> None:
    one = partly(user, database)
    view = view_of_run(database, retried(user, one.run_id))
    look, check, write = view.tasks

    assert view.source is PlanSource.RETRY
    assert plan_of(view) == plan_of(one.view)
    assert look.estimated_duration == Range(p50=0, p90=0)
    assert check.estimated_duration.p50 > 0
    assert view.critical_path == ("check", "write")
    assert {each.task_id for each in view.tasks}.isdisjoint(each.task_id for each in one.view.tasks)
    assert [look.task_id, check.task_id, write.task_id] == sorted(each.task_id for each in view.tasks)
    assert PlanGraph.of(plan_of(view)).order == tuple(CHAIN)


def test_it_begins_with_the_results_that_there_are(user: ApiClient, database: Database) -> None:
    one = partly(user, database)
    accepted = retried(user, one.run_id)
    plan = plan_of(view_of_run(database, accepted))
    run = run_of(database, accepted)

    with database.tenant_session(one.key.user_id) as session:
        assert run.retry_of is not None
        carried = carried_results(session, run.retry_of, plan)
        assert request_of(session, run).run_id == one.run_id
    assert {name: result.text for name, result in carried.items()} == {"look": "Result of look."}


def test_a_run_of_which_only_the_answer_is_missing_is_answered(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    ended(one, RunStatus.FAILED, dict.fromkeys(CHAIN, TaskStatus.COMPLETED))
    view = view_of_run(database, retried(user, one.run_id))

    assert (view.critical_path, view.estimated_cost) == ((), Range(p50=0, p90=0))


def test_what_was_never_allowed_to_run_is_planned_anew(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    approval_id = one.ask()
    user.post(f"runs/{one.run_id}/cancel/", {})
    assert user.get(f"approvals/{approval_id}/").json()["status"] == "cancelled"

    assert run_of(database, retried(user, one.run_id)).plan is None


def test_a_plan_whose_agent_is_gone_cannot_go_on(user: ApiClient, database: Database) -> None:
    one = partly(user, database)
    (agent,) = user.get("agents/").json()["items"]
    user.delete(f"agents/{agent['id']}/")

    assert "`helper`" in error(retry(user, one.run_id), 409, "run_not_retryable")["detail"]


def test_a_retry_of_a_retry_answers_the_first_message(user: ApiClient, database: Database) -> None:
    one = partly(user, database)
    second = retried(user, one.run_id)
    user.post(f"runs/{second['run_id']}/cancel/", {})
    third = retried(user, second["run_id"])
    run = run_of(database, third)

    assert (str(run.retry_of), run.message_of) == (second["run_id"], one.run_id)
    assert third["message_id"] == second["message_id"]


# -- when it is refused -----------------------------------------------------------------------------------------------


def test_a_run_that_is_at_work_is_not_done_again(user: ApiClient, database: Database) -> None:
    one = planned(user, database)

    assert "not finished" in error(retry(user, one.run_id), 409, "run_not_retryable")["detail"]


def test_a_run_that_has_its_answer_is_not_done_again(user: ApiClient) -> None:
    user.make_agent()
    accepted = user.answered(user.make_session()["id"], "[say=yes] hello")

    assert "its answer" in error(retry(user, accepted["run_id"]), 409, "run_not_retryable")["detail"]


def test_a_run_is_not_done_again_twice_at_once(user: ApiClient, database: Database) -> None:
    one = partly(user, database)
    second = retried(user, one.run_id)

    assert second["run_id"] in error(retry(user, one.run_id), 409, "run_not_retryable")["detail"]


def test_nobody_else_finds_it(user: ApiClient, database: Database, make_user: MakeUser) -> None:
    one = partly(user, database)

    error(retry(make_user(), one.run_id), 404, "not_found")


# -- its place among others -------------------------------------------------------------------------------------------


def test_it_waits_for_what_its_session_does(user: ApiClient, database: Database) -> None:
    one = partly(user, database)
    planned(user, database, session=str(one.session_id))
    accepted = retried(user, one.run_id)

    assert accepted["status"] == "held"
    assert user.run(accepted["run_id"])["why"]["code"] == "session"


def test_it_stands_in_line_with_messages_for_its_place_in_the_orchestrators_queue(
    user: ApiClient, database: Database
) -> None:
    one = partly(user, database)
    with ThreadPoolExecutor(1) as threads, row_held(database, Project, one.key.project_id) as project_row:
        accepted = threads.submit(retried, user, one.run_id)
        project_row.await_waiting()
        project_row.let_go()
    assert accepted.result()["queue_position"] == 0


def test_a_key_makes_a_repeat_return_the_first_answer(user: ApiClient, database: Database) -> None:
    one, other = partly(user, database), partly(user, database)
    headers = {"Idempotency-Key": "again"}
    first = retry(user, one.run_id, headers=headers)
    second = retry(user, one.run_id, headers=headers)

    assert (first.status_code, second.json()) == (202, first.json())
    assert second.headers["Idempotency-Replayed"] == "true"
    error(retry(user, other.run_id, headers=headers), 409, "idempotency_conflict")


def test_a_repeat_names_the_same_task_when_the_plan_is_launched(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    ended(one, RunStatus.FAILED, dict.fromkeys(CHAIN, TaskStatus.COMPLETED))
    headers = {"Idempotency-Key": "again"}
    first = retry(user, one.run_id, headers=headers).json()
    user.wait_for_run(first)
    assert retry(user, one.run_id, headers=headers).json() == first


# -- direct runs ------------------------------------------------------------------------------------------------------


def cancelled(user: ApiClient, session: str) -> dict[str, Any]:
    """Return a direct run that was cancelled in the middle of its answer."""
    accepted = user.send(session, "[say=one two three] [delay=60] tell me")
    user.post(f"runs/{accepted['run_id']}/cancel/", {})
    user.wait_for_run(accepted, status="cancelled")
    return accepted


def test_a_direct_run_is_done_again_as_a_whole(user: ApiClient, database: Database, standin: Standin) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    user.answered(session, "[say=before] first")
    one = cancelled(user, session)
    user.answered(session, "[say=after] last")
    with database.system_session("a test changes rows") as rows:
        message = rows.get_one(Message, UUID(one["message_id"]))
        message.content = "[say=at last] tell me"
        # What was written until the end of the run is no part of the question.
        place = {"user_id": message.user_id, "project_id": message.project_id, "session_id": message.session_id}
        half = Message(**place, id=new_id(), run_id=message.run_id, role=MessageRole.ASSISTANT, content="one tw")
        rows.add(half)
        rows.commit()
    accepted = retried(user, one["run_id"])
    run = user.wait_for_run(accepted)

    assert (accepted["mode"], accepted["message_id"], run["retry_of"]) == ("direct", one["message_id"], one["run_id"])
    assert [task["agent_id"] for task in run["tasks"]] == [agent["id"]]
    said = user.messages(session)
    assert (said[-1]["content"], said[-1]["run_id"]) == ("at last", accepted["run_id"])
    assert [each["content"] for each in said if each["role"] == "user"].count("[say=at last] tell me") == 1
    (asked,) = [each for each in standin.requests() if each["messages"][-1]["content"] == "[say=at last] tell me"]
    assert [each["content"] for each in asked["messages"][1:]] == [
        *("[say=before] first", "before", "[say=at last] tell me"),
    ]


def test_its_sender_may_wait_for_the_answer(user: ApiClient, database: Database) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    one = cancelled(user, session)
    with database.system_session("a test changes rows") as rows:
        rows.get_one(Message, UUID(one["message_id"])).content = "[say=at last]"
        rows.commit()
    answer = retry(user, one["run_id"], headers={"Prefer": "wait=20"})

    assert (answer.status_code, answer.json()["reply"]["content"]) == (200, "at last")


def test_a_direct_run_whose_agent_is_gone_cannot_be_done_again(user: ApiClient) -> None:
    agent = user.make_agent()
    one = cancelled(user, user.make_session()["id"])
    user.delete(f"agents/{agent['id']}/")

    assert "helper was deleted" in error(retry(user, one["run_id"]), 409, "run_not_retryable")["detail"]
