"""Plans of which a part goes wrong: what depends on it is skipped, the rest goes on, the closing task is next."""

import pytest

from models.statuses import RunStatus, TaskStatus
from tests.integration.plans.launched import Launcher
from tests.integration.runs.steps import calls, cancelled
from tests.support.api import ApiClient
from tests.support.launches import Wanted
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.names import CLOSING_ID

pytestmark = pytest.mark.stack

FAILS = "[fail=400]"


def test_what_depends_on_a_failed_task_is_skipped_and_the_rest_goes_on(user: ApiClient, plans: Launcher) -> None:
    graph = {
        "bad": Wanted("worker", FAILS),
        "good": Wanted("worker", "[delay=0.5] [say=good]"),
        "lost": Wanted("worker", after=("bad",)),
        "both": Wanted("worker", after=("lost", "good")),
        "fine": Wanted("worker", "[say=fine]", ("good",)),
    }
    with user.events(session := user.make_session()["id"], cursor="0") as stream:
        run = plans.launch(user, graph, session=session)
        tasks = run.settled()
        seen = stream.until("task_skipped") + stream.until("task_skipped")
    assert run.statuses() == {
        "bad": "failed",
        "good": "completed",
        "lost": "skipped",
        "both": "skipped",
        "fine": "completed",
    }
    assert [tasks[name].attempts for name in ("lost", "both")] == [0, 0]
    skipped = {
        event.payload["plan_task_id"]: event.payload["because_of"] for event in seen if event.type == "task_skipped"
    }
    assert skipped == {"lost": ["bad"], "both": ["bad"]}
    run.closing_is_due()
    eventually(lambda: run.tasks()[CLOSING_ID].status is not TaskStatus.PENDING, "the closing task to be queued")


def test_a_plan_whose_every_task_fails_still_comes_to_its_closing_task(user: ApiClient, plans: Launcher) -> None:
    run = plans.launch(user, {"a": Wanted("worker", FAILS), "b": Wanted("worker", FAILS, ("a",))})
    run.settled()
    assert run.statuses() == {"a": "failed", "b": "skipped"}
    run.closing_is_due()


def test_a_cancel_in_the_middle_ends_the_run_with_its_last_task(
    user: ApiClient, plans: Launcher, standin: Standin
) -> None:
    graph = {
        "first": Wanted("worker", "[say=first]"),
        "at_work": Wanted("worker", "[delay=60]", ("first",)),
        "beside": Wanted("worker", "[delay=60]", ("first",)),
        "later": Wanted("worker", after=("at_work", "beside")),
    }
    run = plans.launch(user, graph)
    calls(standin, run.agents["worker"], 2)
    held = user.send(run.session, "[say=next]", "worker")
    cancelled(user, str(run.id))
    ended = user.wait_for_run(str(run.id), status="cancelled")
    assert ended["error"]["error_code"] == "cancelled"
    assert run.statuses() == {
        "first": "completed",
        "at_work": "cancelled",
        "beside": "cancelled",
        "later": "cancelled",
    }
    row = run.row()
    assert row.outcome is not None
    assert [task["status"] for task in row.outcome["tasks"]] == [
        "completed",
        "cancelled",
        "cancelled",
        "cancelled",
    ]
    assert row.usage["total_tokens"] > 0
    user.wait_for_run(held)


def test_a_deleted_agent_takes_its_tasks_from_a_plan_which_goes_on(
    user: ApiClient, plans: Launcher, standin: Standin
) -> None:
    graph = {
        "kept": Wanted("stays", "[delay=2] [say=kept]"),
        "at_work": Wanted("goes", "[delay=60]"),
        "lost": Wanted("stays", after=("at_work", "kept")),
        "late": Wanted("goes", after=("kept",)),
        "fine": Wanted("stays", "[say=fine]", ("kept",)),
    }
    session = user.make_session()["id"]
    with user.events(session, cursor="0") as stream:
        run = plans.launch(user, graph, session=session)
        calls(standin, run.agents["goes"], 1)
        assert user.delete(f"agents/{run.agents['goes']['id']}/").status_code == 204
        tasks = run.settled()
        told = stream.until("task_skipped")
    assert run.statuses() == {
        "kept": "completed",
        "at_work": "cancelled",
        "lost": "skipped",
        "late": "cancelled",
        "fine": "completed",
    }
    assert tasks["at_work"].error is not None
    assert tasks["at_work"].error["error_code"] == "agent_deleted"
    gone = {event.payload["plan_task_id"] for event in told if event.type == "task_cancelled"}
    assert gone == {"at_work", "late"}
    run.closing_is_due()
    assert run.row().status in {RunStatus.RUNNING, RunStatus.PARTIAL}


def test_an_agent_that_is_gone_at_the_launch_takes_its_tasks_with_it(user: ApiClient, plans: Launcher) -> None:
    agents = {name: user.make_agent(name) for name in ("stays", "goes")}
    user.delete(f"agents/{agents['goes']['id']}/")
    graph = {
        "a": Wanted("stays", "[say=a]"),
        "gone": Wanted("goes"),
        "lost": Wanted("stays", after=("gone", "a")),
    }
    run = plans.launch_for(user, graph, agents, user.make_session()["id"])
    run.settled()
    assert run.statuses() == {"a": "completed", "gone": "cancelled", "lost": "skipped"}
    run.closing_is_due()


def test_a_plan_of_agents_that_are_all_gone_comes_to_its_closing_task_at_once(user: ApiClient, plans: Launcher) -> None:
    agents = {"goes": user.make_agent("goes")}
    user.delete(f"agents/{agents['goes']['id']}/")
    graph = {"a": Wanted("goes"), "b": Wanted("goes", after=("a",))}
    run = plans.launch_for(user, graph, agents, user.make_session()["id"])
    assert run.statuses() == {"a": "cancelled", "b": "cancelled"}
    run.closing_is_due()
    assert run.tasks()[CLOSING_ID].status is not TaskStatus.PENDING


def test_a_reset_ends_a_plan_at_once(user: ApiClient, plans: Launcher, standin: Standin) -> None:
    graph = {"a": Wanted("worker", "[delay=60]"), "b": Wanted("worker", after=("a",))}
    run = plans.launch(user, graph)
    calls(standin, run.agents["worker"], 1)
    assert user.request("POST", "workspace/reset/").status_code in {200, 202}
    user.wait_for_run(str(run.id), status="cancelled")
    assert set(run.statuses().values()) == {"cancelled"}


def test_a_deleted_session_takes_its_plan_with_it(user: ApiClient, plans: Launcher, standin: Standin) -> None:
    graph = {"a": Wanted("worker", "[delay=60]"), "b": Wanted("worker", after=("a",))}
    run = plans.launch(user, graph)
    calls(standin, run.agents["worker"], 1)
    assert user.delete(f"chat/sessions/{run.session}/").status_code == 204
    calls(standin, run.agents["worker"], 0)
    assert run.tasks() == {}
