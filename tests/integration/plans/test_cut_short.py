"""Plans that are ended in their middle, by their age or with their project: nothing of them goes on, or stays."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from celery import Celery
from sqlalchemy import update

from models import Run, utc_now
from models.tenancy import Database
from settings import load_settings
from tasks.sender import web_sender
from tests.integration.plans.launched import LaunchedRun, Launcher
from tests.integration.runs.steps import calls, key_of
from tests.support.api import ApiClient
from tests.support.launches import Wanted
from tests.support.rows import rows_of
from tests.support.stack import Stack
from tests.support.standin import Standin
from workspace.agent_bus import AgentBus
from workspace.broker_queues import BrokerQueues
from workspace.names import CLOSING_ID, ORCHESTRATOR

pytestmark = pytest.mark.stack

IN_FLIGHT = {
    "first": Wanted("worker", "[say=first]"),
    "at_work": Wanted("worker", "[silent=60]", ("first",)),
    "beside": Wanted("worker", "[silent=60]", ("first",)),
    "join": Wanted("worker", after=("at_work", "beside")),
    "last": Wanted("worker", after=("join",)),
}
"""Of which two tasks are at work for as long as nobody ends them."""


def grow_old(run: LaunchedRun) -> None:
    """Let a run have the age that none may have."""
    with run.database.system_session("a test changes rows") as session:
        session.execute(
            update(Run)
            .where(Run.id == run.id)
            .values(created_at=utc_now() - timedelta(days=8))
            .execution_options(synchronize_session=False)
        )
        session.commit()


def test_a_plan_that_grew_too_old_ends_with_all_its_tasks_and_lets_its_session_go_on(
    user: ApiClient, plans: Launcher, standin: Standin
) -> None:
    run = plans.launch(user, IN_FLIGHT)
    calls(standin, run.agents["worker"], 2)
    held = user.send(run.session, "[say=next]", "worker")
    grow_old(run)
    ended = user.wait_for_run(str(run.id), status="failed")
    assert ended["error"]["error_code"] == "deadline_exceeded"
    calls(standin, run.agents["worker"], 0)
    assert {name: task.status.value for name, task in run.tasks().items()} == {
        "first": "completed",
        "at_work": "failed",
        "beside": "failed",
        "join": "cancelled",
        "last": "cancelled",
        CLOSING_ID: "cancelled",
    }
    errors = {name: (task.error or {}).get("error_code") for name, task in run.planned().items()}
    assert errors == {"first": None} | dict.fromkeys(["at_work", "beside", "join", "last"], "deadline_exceeded")
    outcome = run.row().outcome
    assert outcome is not None
    assert {task["id"]: task["status"] for task in outcome["tasks"]} == run.statuses()
    user.wait_for_run(held)


def errors_in(stack: Stack, since: int) -> list[str]:
    """What the stack's node logged as an error behind a place of its log."""
    lines = (stack.directory / "logs/worker1.log").read_text()[since:].splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [str(entry) for entry in entries if entry["level"] in {"error", "critical"}]


@pytest.fixture
def inside(user: ApiClient) -> ApiClient:
    """The user in a project that can be deleted."""
    return user.inside(user.make_project()["id"])


def delete(inside: ApiClient) -> None:
    assert inside.delete(f"{inside.prefix}/").status_code == 204


def test_a_project_that_is_deleted_takes_its_plan_with_it_and_its_node_minds_nothing(
    inside: ApiClient, plans: Launcher, standin: Standin, database: Database, stack: Stack
) -> None:
    since = len((stack.directory / "logs/worker1.log").read_text())
    run = plans.launch(inside, IN_FLIGHT)
    calls(standin, run.agents["worker"], 2)
    delete(inside)
    calls(standin, run.agents["worker"], 0)
    rows = rows_of(database, run.key.user_id)
    for table in ("runs", "tasks", "messages", "chat_sessions", "workspaces"):
        assert [row for row in rows[table] if run.key.project_id in row] == [], table
    other = replace(inside, prefix="/my")
    other.make_agent()
    other.answered(other.make_session()["id"], "[say=on]")
    assert errors_in(stack, since) == []


@pytest.fixture
def sender() -> Iterator[Celery]:
    made = web_sender(load_settings())
    yield made
    made.close()


def test_the_queue_of_an_orchestrator_is_deleted_with_its_project(
    inside: ApiClient, database: Database, sender: Celery
) -> None:
    inside.make_agent()
    key, queues = key_of(inside, database), BrokerQueues(sender)
    AgentBus(sender).send_task_to_agent(key, ORCHESTRATOR, uuid4())
    assert queues.length(key.agent_queue(ORCHESTRATOR)) == 1
    delete(inside)
    assert queues.length(key.agent_queue(ORCHESTRATOR)) == 0
