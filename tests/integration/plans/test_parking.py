"""Tasks of a plan that wait for their owner: they have not settled, so nothing behind them begins."""

import pytest

from models.statuses import RunStatus, TaskStatus
from tests.integration.approvals.steps import confirm, write
from tests.integration.plans.launched import LaunchedRun, Launcher
from tests.support.api import ApiClient
from tests.support.launches import Wanted
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

TOOLS = {"tools": ["write_file"]}


def two_that_ask(user: ApiClient, plans: Launcher) -> LaunchedRun:
    """A plan whose two first tasks wait for their owner, and whose third one waits for both."""
    graph = {
        "a": Wanted("worker", f"{write('a.txt')} [then] [say=a]"),
        "b": Wanted("worker", f"{write('b.txt')} [then] [say=b]"),
        "join": Wanted("worker", "[say=joined]", ("a", "b")),
    }
    run = plans.launch(user, graph, worker=TOOLS)
    for name in ("a", "b"):
        run.becomes(name, TaskStatus.WAITING)
    eventually(lambda: run.row().status is RunStatus.WAITING, "the run to wait")
    return run


def approve(user: ApiClient, run: LaunchedRun, name: str) -> None:
    task = str(run.tasks()[name].id)
    (open_one,) = [
        one for one in user.get("approvals/", status="pending").json()["items"] if str(one.get("task_id")) == task
    ]
    assert confirm(user, open_one["id"]).status_code == 200


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_two_that_wait_in_one_chord_may_go_on_in_either_order(
    user: ApiClient, plans: Launcher, order: tuple[str, str]
) -> None:
    run = two_that_ask(user, plans)
    approve(user, run, order[0])
    run.becomes(order[0], TaskStatus.COMPLETED)
    assert run.tasks()["join"].status is TaskStatus.PENDING
    assert run.row().status is RunStatus.WAITING
    approve(user, run, order[1])
    tasks = run.settled()
    assert {task.status for task in tasks.values()} == {TaskStatus.COMPLETED}
    assert tasks["join"].attempts == 1
    run.closing_is_due()


def test_a_run_is_running_again_while_what_was_waiting_goes_on(user: ApiClient, plans: Launcher) -> None:
    graph = {
        "a": Wanted("worker", f"{write('a.txt')} [then] [delay=2] [say=a]"),
        "b": Wanted("worker", f"{write('b.txt')} [then] [say=b]"),
    }
    run = plans.launch(user, graph, worker=TOOLS)
    for name in ("a", "b"):
        run.becomes(name, TaskStatus.WAITING)
    eventually(lambda: run.row().status is RunStatus.WAITING, "the run to wait")
    approve(user, run, "a")
    eventually(lambda: run.row().status is RunStatus.RUNNING, "the run to go on")
    run.becomes("a", TaskStatus.COMPLETED)
    eventually(lambda: run.row().status is RunStatus.WAITING, "the run to wait for the other one")


def test_a_cancel_ends_a_plan_that_waits_and_closes_what_it_asked(user: ApiClient, plans: Launcher) -> None:
    run = two_that_ask(user, plans)
    assert user.request("POST", f"runs/{run.id}/cancel/").status_code == 200
    assert run.row().status is RunStatus.CANCELLED
    assert set(run.statuses().values()) == {"cancelled"}
    assert user.get("approvals/", status="pending").json()["items"] == []
    assert run.row().outcome is not None


def test_what_an_agent_of_a_cancelled_plan_said_is_no_message(user: ApiClient, plans: Launcher) -> None:
    run = two_that_ask(user, plans)
    user.request("POST", f"runs/{run.id}/cancel/")
    assert [message["role"] for message in user.messages(run.session)] == ["user"]
