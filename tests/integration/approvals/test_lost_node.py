"""A node that is killed in the middle of a tool: nobody knows what came of that, and nobody pretends to."""

import signal

import pytest

from models import Task, ToolCall, User
from tests.integration.approvals.conftest import EndNode
from tests.integration.approvals.parked import ask_after_a_tool, goes_on
from tests.integration.approvals.steps import (
    TRUSTED,
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
from tests.integration.runs.own_system import OwnSystem
from tests.support.answers import error
from tests.support.locks import row_held, row_held_next
from tests.support.rows import user_id
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

OPEN = f"src/{TRUSTED}"


def test_its_run_fails_with_its_tool_unknown_and_its_question_closed_and_what_waited_goes_on(
    hurried: OwnSystem, end_node: EndNode, standin: Standin
) -> None:
    waiting = ask_after_a_tool(hurried.user())
    user, database = hurried.user(), hurried.database
    make_agent(user)
    one = ask(user, f"{append(TRUSTED, 'x')} {append(OPEN, 'x')}", count=2)
    first, _ = calls_of(user, one.run_id)
    with row_held(database, User, user_id(database, user.subject)) as before_the_start:
        confirmed(user, one.ids[0])
        before_the_start.await_waiting()
        with row_held(database, ToolCall, first["id"]) as before_the_tool:
            before_the_start.let_go()
            before_the_tool.await_waiting()
            with row_held_next(database, Task, one.accepted["task_id"]) as before_its_result:
                before_the_tool.let_go()
                before_its_result.taken()
                before_its_result.await_waiting()
                assert [call["status"] for call in calls_of(user, one.run_id)] == ["running", "awaiting_approval"]
                end_node(signal.SIGKILL)
    run = user.wait_for_run(one.run_id, status="failed")
    assert (run["error"]["error_code"], run["error"]["retryable"]) == ("worker_lost", True)
    begun, asked_for = calls_of(user, one.run_id)
    assert (begun["status"], begun["result"]["error"]["code"]) == ("unknown", "outcome_unknown")
    assert (asked_for["status"], asked_for["result"]["error"]["code"]) == ("failed", "cancelled")
    assert [one.now(approval)["status"] for approval in one.ids] == ["approved", "cancelled"]
    error(confirm(user, one.ids[1]), 409, "approval_already_decided")
    with user.events(one.accepted["events_url"]) as stream:
        events = stream.until("run_failed")
    assert plot(events, one.run_id)[-3:] == ["approval_resolved", "task_failed", "run_failed"]
    only([event for event in events if event.payload.get("status") == "cancelled"], "approval_resolved")
    # It was done, as it happens, and once.
    eventually(lambda: content_of(user, TRUSTED) == "x", "another node to answer")
    assert content_of(user, OPEN) is None
    goes_on(waiting, standin, database)
