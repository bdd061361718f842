"""What becomes of a question when the run that asks it ends otherwise, or its workspace does."""

from datetime import timedelta
from functools import partial

import httpx
import pytest
from sqlalchemy import update

from models import Run, Workspace, utc_now
from models.statuses import WorkspaceState
from models.tenancy import Database
from tests.integration.approvals.steps import (
    TRUSTED,
    Asked,
    append,
    ask,
    calls_of,
    confirm,
    confirmed,
    content_of,
    make_agent,
    only,
    plot,
)
from tests.integration.core.world import together
from tests.integration.runs.own_system import OwnSystem
from tests.integration.runs.steps import cancel, cancelled, key_of
from tests.support.answers import error
from tests.support.api import FINAL, ApiClient
from tests.support.rows import rows_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def ask_twice(user: ApiClient) -> Asked:
    """Let an agent ask twice in a turn, and say yes to the first."""
    agent = make_agent(user)
    one = ask(user, f"[say=I write.] {append('a.txt', 'x')} {append('b.txt', 'x')} [then] [say=done]", count=2)
    with user.events(one.accepted["events_url"]) as stream:
        stream.until("task_waiting")
        confirmed(user, one.ids[0])
        stream.until("task_waiting")
    one.accepted["agent_id"] = agent["id"]
    return one


def nothing_is_open(one: Asked) -> None:
    """The second question is closed and nobody can answer it; what was done before stays."""
    user, closed = one.user, one.now(one.ids[1])
    assert (closed["status"], closed["decision"], closed["reason"]) == ("cancelled", None, None)
    assert closed["resolved_at"] is not None
    assert one.now(one.ids[0])["status"] == "approved"
    first, second = calls_of(user, one.run_id)
    assert first["status"] == "succeeded"
    assert (second["status"], second["result"]["error"]["code"]) == ("failed", "cancelled")
    for decision in ("approve", "reject"):
        error(confirm(user, one.ids[1], decision), 409, "approval_already_decided")
    run = user.run(one.run_id)
    assert run["why"] is None
    assert run["finished_at"] is not None
    assert run["usage"]["total_tokens"] > 0


def test_a_cancelled_run_asks_nothing_any_more(user: ApiClient) -> None:
    one = ask_twice(user)
    assert cancelled(user, one.run_id)["status"] == "cancelled"
    nothing_is_open(one)
    assert cancelled(user, one.run_id)["status"] == "cancelled", "once more changes nothing"
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_cancelled")
    assert plot(events, one.run_id)[-3:] == ["approval_resolved", "message_created", "run_cancelled"]
    resolved = only([event for event in events if event.payload.get("status") == "cancelled"], "approval_resolved")
    assert resolved.payload["approval_id"] == one.ids[1]
    assert [m["content"] for m in user.messages(one.session)][1:] == ["I write."]
    user.answered(one.session, "[say=next]")
    assert (content_of(user, "a.txt"), content_of(user, "b.txt")) == ("x", None)


def test_of_a_yes_and_a_cancel_at_once_the_rows_tell_one_story(user: ApiClient) -> None:
    make_agent(user)
    questions = [ask(user, append(f"{number}.txt", "x")) for number in range(4)]
    calls = [call for one in questions for call in (partial(confirm, user, one.id), partial(cancel, user, one.run_id))]
    answers = together(calls)
    for number, one in enumerate(questions):
        yes, end = answers[2 * number : 2 * number + 2]
        assert isinstance(yes, httpx.Response)
        assert isinstance(end, httpx.Response)
        assert end.status_code == 200
        run = eventually(lambda one=one: (r := user.run(one.run_id))["status"] in FINAL and r, "the run's end")
        (call,) = calls_of(user, one.run_id)
        if yes.status_code == 200:
            assert one.now()["status"] == "approved"
            assert call["status"] in {"succeeded", "failed"}
        else:
            error(yes, 409, "approval_already_decided")
            assert one.now()["status"] == "cancelled"
            assert (run["status"], call["status"]) == ("cancelled", "failed")
        written = content_of(user, f"{number}.txt")
        assert written == ("x" if call["status"] == "succeeded" else None)


def test_a_deleted_agent_asks_nothing_any_more(user: ApiClient) -> None:
    one = ask_twice(user)
    behind = user.send(one.session, "[say=never answered]")
    assert user.delete(f"agents/{one.accepted['agent_id']}/").status_code == 204
    assert user.wait_for_run(one.run_id, status="cancelled")["error"]["error_code"] == "agent_deleted"
    user.wait_for_run(behind, status="cancelled")
    nothing_is_open(one)
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_cancelled")
    assert plot(events, one.run_id)[-2:] == ["approval_resolved", "run_cancelled"]


def test_a_deleted_session_takes_its_questions_with_it(user: ApiClient, database: Database) -> None:
    one = ask_twice(user)
    call_id = calls_of(user, one.run_id)[1]["id"]
    with user.events(one.session) as stream:
        assert user.delete(f"chat/sessions/{one.session}/").status_code == 204
        stream.rest()
    for path in (f"approvals/{one.ids[0]}/", f"approvals/{one.ids[1]}/", f"tool-calls/{call_id}/"):
        error(user.get(path), 404, "not_found")
    error(confirm(user, one.ids[1]), 404, "not_found")
    rows = rows_of(database, key_of(user, database).user_id)
    for table in ("approval_requests", "tool_calls", "task_turns", "tasks", "runs", "messages"):
        assert rows[table] == [], table
    user.answered(user.make_session()["id"], "[say=on]")
    assert (content_of(user, "a.txt"), content_of(user, "b.txt")) == ("x", None)


def test_a_deleted_project_takes_its_questions_and_grants_with_it(user: ApiClient, database: Database) -> None:
    inside = user.inside(user.make_project()["id"])
    one = ask_twice(inside)
    granted = ask(inside, append("c.txt", "x"))
    confirmed(inside, granted.id, remember={"scope": "project"})
    granted.completed()
    assert user.delete(f"/my/projects/{inside.prefix.rpartition('/')[2]}/").status_code == 204
    error(confirm(inside, one.ids[1]), 404, "not_found")
    rows = rows_of(database, key_of(user, database).user_id)
    for table in ("approval_requests", "approval_grants", "tool_calls", "task_turns", "tasks", "runs"):
        assert rows[table] == [], table
    make_agent(user)
    user.answered(user.make_session()["id"], "[say=on]")


def test_a_reset_workspace_asks_nothing_any_more(user: ApiClient) -> None:
    one = ask_twice(user)
    answer = user.post("workspace/reset/", {})
    assert answer.status_code == 200, answer.text
    assert user.run(one.run_id)["status"] == "cancelled"
    nothing_is_open(one)
    assert user.messages(one.session, role="assistant") == []
    user.answered(one.session, "[say=on]")
    assert (content_of(user, "a.txt"), content_of(user, "b.txt")) == ("x", None)


def test_a_run_that_grew_too_old_asks_nothing_any_more(hurried: OwnSystem) -> None:
    user = hurried.user()
    make_agent(user)
    one = ask(user, append(TRUSTED, "x"))
    with hurried.database.system_session("a test changes rows") as session:
        session.execute(
            update(Run)
            .where(Run.id == one.run_id)
            .values(created_at=utc_now() - timedelta(days=2))
            .execution_options(synchronize_session=False)
        )
        session.commit()
    run = user.wait_for_run(one.run_id, status="failed")
    assert run["error"]["error_code"] == "deadline_exceeded"
    assert one.now()["status"] == "cancelled"
    error(confirm(user, one.id), 409, "approval_already_decided")


def workspace_of(user: ApiClient, database: Database) -> Workspace:
    with database.system_session("a test looks") as session:
        return session.get_one(Workspace, tuple(key_of(user, database)))


def is_closed(user: ApiClient, database: Database) -> bool:
    found = workspace_of(user, database)
    return (found.state, found.node_id) == (WorkspaceState.CLEANED, None)


def test_a_workspace_that_was_closed_because_it_was_idle_opens_for_the_answer(hurried: OwnSystem) -> None:
    user = hurried.user()
    make_agent(user)
    one = ask(user, f"{append(TRUSTED, 'x')} [then] [say=done]")
    eventually(lambda: is_closed(user, hurried.database), "the idle workspace to be closed", within=40)
    assert user.run(one.run_id)["status"] == "waiting"
    confirmed(user, one.id)
    one.completed()
    assert content_of(user, TRUSTED) == "x"


def test_a_workspace_that_its_owner_closed_opens_for_the_answer(user: ApiClient, database: Database) -> None:
    make_agent(user)
    one = ask(user, f"{append('log.txt', 'x')} [then] [say=done]")
    assert user.delete("workspace/").status_code == 204
    eventually(lambda: is_closed(user, database), "the workspace to be closed")
    confirmed(user, one.id, "reject")
    one.completed()
    assert not is_closed(user, database)
    assert content_of(user, "log.txt") is None
