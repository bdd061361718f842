"""A run of which something failed is done again over HTTP: what has a result keeps it, and the rest is done."""

from collections.abc import Mapping

import pytest

from tests.integration.orchestrated.steps import Json, Request, configure, events_of, replies, send
from tests.integration.orchestrated.test_approvals import answer, asked
from tests.integration.runs.steps import cancelled
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

GRAPH: Mapping[str, list[str]] = {
    "look": [],
    "count": [],
    "guess": [],
    "sum": ["look", "count"],
    "all": ["sum", "guess"],
}


def statuses(run: Json) -> dict[str, str]:
    """Return how the tasks of its agents stand, by their names in the plan."""
    return {task["plan_task_id"]: task["status"] for task in run["tasks"] if task["agent_id"]}


def calls(standin: Standin, request: Request, task: str) -> int:
    """Return how often the model was asked for a task."""
    bodies = (body for body in standin.requests(limit=200) if "response_format" not in body)
    return sum(body["messages"][-1]["content"].endswith(request.instruction(task)) for body in bodies)


def test_a_retry_does_only_what_has_no_result_and_asks_nobody_again(user: ApiClient, standin: Standin) -> None:
    user.make_agent("helper", memory={"enabled": False})
    configure(user, plan_approval="always")
    session = user.make_session()["id"]
    request = Request(standin).plan(GRAPH).work("guess", fail="400x1", say="seven")
    for task in ("look", "count", "sum", "all"):
        request.work(task, say=f"result of {task}")
    accepted = send(user, session, request)
    answer(user, asked(user, accepted), "approve")
    first = user.wait_for_run(accepted, status="partial")
    done = {"look": "completed", "count": "completed", "sum": "completed"}
    assert statuses(first) == done | {"guess": "failed", "all": "skipped"}
    again = user.post(f"runs/{accepted['run_id']}/retry/", {})
    assert again.status_code == 202, again.text
    second = user.wait_for_run(again.json())
    assert statuses(second) == dict.fromkeys(GRAPH, "completed")
    assert (second["retry_of"], second["plan"]["source"]) == (accepted["run_id"], "retry")
    assert {task: calls(standin, request, task) for task in GRAPH} == dict.fromkeys(GRAPH, 1) | {"guess": 2}
    assert replies(user, session)[-1] == ("@orchestrator", "result of all")
    assert len(user.messages(session, role="user")) == 1
    metrics = user.get(f"agents/{first['tasks'][1]['agent_id']}/metrics/").json()
    assert metrics["tasks_by_status"]["completed"] == 5


def test_a_retry_asks_again_where_an_agent_was_made_anew_under_its_name(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent("helper", memory={"enabled": False})
    configure(user, plan_approval="always")
    request = Request(standin).plan({"a": [], "b": []}).work("a", say="done").work("b", fail="400x1", say="done")
    accepted = send(user, user.make_session()["id"], request)
    answer(user, asked(user, accepted), "approve")
    user.wait_for_run(accepted, status="partial")
    assert user.delete(f"agents/{agent['id']}/").status_code == 204
    user.make_agent("helper", memory={"enabled": False}, tools=["execute_command"])
    again = user.post(f"runs/{accepted['run_id']}/retry/", {})
    assert again.status_code == 202, again.text
    answer(user, asked(user, again.json()), "approve")
    assert statuses(user.wait_for_run(again.json())) == {"b": "completed"}


def test_a_retry_that_lacks_only_the_answer_tells_of_its_planning_before_it(user: ApiClient, standin: Standin) -> None:
    user.make_agent("helper", memory={"enabled": False})
    request = Request(standin).plan({"a": [], "b": []}).work("a", say="one").work("b", say="two")
    session = user.make_session()["id"]
    accepted = send(user, session, request.answer(silent="60x1", say="both"))
    eventually(lambda: len(request.closing_calls()) == 1, "the answer to be asked for")
    cancelled(user, accepted["run_id"])
    user.wait_for_run(accepted, status="cancelled")
    again = user.post(f"runs/{accepted['run_id']}/retry/", {})
    assert again.status_code == 202, again.text
    told = [(event.type, event.payload.get("plan_task_id")) for event in events_of(user, again.json())]
    assert told == [
        ("task_started", "_planning"),
        ("task_plan_created", None),
        ("task_completed", None),
        ("task_started", "_closing"),
        ("task_progress", None),
        ("task_completed", None),
        ("message_created", None),
        ("run_completed", None),
    ]
    assert replies(user, session)[-1] == ("@orchestrator", "both")
