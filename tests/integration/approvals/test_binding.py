"""An approval is good for exactly the call that was shown, once: whatever the ledger says by the time it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu.entity import Exchange, Queue
from sqlalchemy import update

from models import Task, ToolCall, User
from models.statuses import ToolCallStatus
from models.tenancy import Database
from settings import load_settings
from tasks.sender import web_sender
from tests.integration.approvals.steps import (
    Asked,
    append,
    ask,
    calls_of,
    confirmed,
    content_of,
    error_codes,
    make_agent,
    marked,
    told,
)
from tests.integration.runs.steps import key_of
from tests.support.api import ApiClient
from tests.support.locks import row_held, row_held_next
from tests.support.rows import user_id
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.tools.digest import digest

pytestmark = pytest.mark.stack

SHOWN = {"path": "shown.txt", "content": "x", "mode": "append"}
OTHER = SHOWN | {"path": "other.txt"}


@contextmanager
def before_it_runs(one: Asked, database: Database, *approved: str) -> Iterator[None]:
    """Approve, and keep the node from going on with the task until the end of the block."""
    with row_held(database, User, user_id(database, one.user.subject)) as hold:
        for approval in approved:
            confirmed(one.user, approval)
        hold.await_waiting()
        yield


def change(database: Database, call_id: str, **values: Any) -> None:
    """Change a row of the ledger, as nobody may."""
    with database.system_session("a test changes rows") as session:
        statement = update(ToolCall).where(ToolCall.id == call_id).values(**values)
        session.execute(statement.execution_options(synchronize_session=False))
        session.commit()


@pytest.mark.parametrize("how", ["the arguments", "the arguments and their digest", "the digest"])
def test_what_was_changed_after_the_yes_is_refused(
    user: ApiClient, standin: Standin, database: Database, how: str
) -> None:
    make_agent(user)
    one = ask(user, append("shown.txt", "x"))
    (call,) = calls_of(user, one.run_id)
    assert call["arguments"] == SHOWN
    assert call["digest"] == digest("write_file", SHOWN)
    changes = {
        "the arguments": {"arguments": OTHER},
        "the arguments and their digest": {"arguments": OTHER, "digest": digest("write_file", OTHER)},
        "the digest": {"digest": digest("write_file", OTHER)},
    }
    with before_it_runs(one, database, one.id):
        change(database, call["id"], **changes[how])
    one.completed()
    assert error_codes(told(standin, one.content)) == ["arguments_changed"]
    (call,) = calls_of(user, one.run_id)
    assert (call["status"], call["started_at"]) == ("failed", None)
    assert content_of(user, "shown.txt") is content_of(user, "other.txt") is None


@pytest.mark.parametrize("second", [append("log.txt", "x"), append("other.txt", "x")], ids=["the same", "another"])
def test_a_yes_to_one_call_is_none_to_another(
    user: ApiClient, standin: Standin, database: Database, second: str
) -> None:
    make_agent(user)
    one = ask(user, f"{append('log.txt', 'x')} {second}", count=2)
    calls = calls_of(user, one.run_id)
    with before_it_runs(one, database, one.ids[0]):
        # As if something had taken the yes to the first for one to the second.
        change(database, calls[1]["id"], status=ToolCallStatus.REQUESTED)
    one.completed()
    assert error_codes(told(standin, one.content)) == [None, "arguments_changed"]
    assert content_of(user, "log.txt") == "x"
    assert content_of(user, "other.txt") is None


def test_a_yes_is_used_up_by_the_run_that_it_was_given_in(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    confirmed(user, one.id)
    one.completed()
    again = ask(user, append("log.txt", "x"), session=one.session)
    assert again.id != one.id
    assert again.approvals[0]["payload"] == one.approvals[0]["payload"]
    confirmed(user, again.id, "reject")
    again.completed()
    assert content_of(user, "log.txt") == "x"


def test_a_yes_is_used_once_however_often_its_task_is_sent(user: ApiClient, database: Database) -> None:
    make_agent(user)
    one = ask(user, f"{append('log.txt', 'x')} [then] [say=done]")
    send_again(one, database)
    user.answered(user.make_session()["id"], "[say=behind what was sent again]")
    assert user.run(one.run_id)["status"] == "waiting"
    with before_it_runs(one, database, one.id):
        send_again(one, database)
    one.completed()
    send_again(one, database)
    assert content_of(user, "log.txt") == "x"
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    assert [event.payload["attempt"] for event in events if event.type == "task_started"] == [1, 2]


def send_again(one: Asked, database: Database) -> None:
    """Send a task's message three more times, as a broker may that lost track."""
    sender = web_sender(load_settings())
    queue = key_of(one.user, database).agent_queue("helper")
    for _ in range(3):
        to = Queue(queue, Exchange(""), routing_key=queue)
        sender.send_task("codelab.run_agent_task", [one.accepted["task_id"]], queue=to)
    sender.close()


def test_a_tool_that_was_taken_from_the_agent_meanwhile_is_not_used(user: ApiClient, standin: Standin) -> None:
    agent = make_agent(user)
    one = ask(user, append("log.txt", "x"))
    assert user.put(f"agents/{agent['id']}/", {"name": "helper", "tools": ["read_file"]}).status_code == 200
    confirmed(user, one.id)
    one.completed()
    assert error_codes(told(standin, one.content)) == ["unknown_tool"]
    assert content_of(user, "log.txt") is None


def test_a_grant_that_is_revoked_after_the_plan_is_no_yes_any_more(
    user: ApiClient, standin: Standin, database: Database
) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    confirmed(user, one.id, remember={"scope": "session"})
    one.completed()
    (grant,) = user.get("approvals/grants/").json()["items"]
    content = marked(f"[delay=1] {append('log.txt', 'y')} [then] [say=done]")
    accepted = user.send(one.session, content)
    task = accepted["task_id"]
    eventually(lambda: user.run(accepted["run_id"])["status"] == "running", "the run to start")
    with row_held(database, Task, task) as before_the_plan:
        before_the_plan.await_waiting()
        with row_held_next(database, Task, task) as after_the_plan:
            before_the_plan.let_go()
            after_the_plan.taken()
            (call,) = calls_of(user, accepted["run_id"])
            assert (call["status"], call["grant_id"]) == ("requested", grant["id"])
            assert user.delete(f"approvals/grants/{grant['id']}/").status_code == 204
    user.wait_for_run(accepted)
    assert error_codes(told(standin, content)) == ["arguments_changed"]
    assert content_of(user, "log.txt") == "x"
