"""A workspace that begins anew, and one that is closed: what its owner and its operator may ask of it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from celery import Celery

from bootstrap import build_web
from models import Task, Workspace
from models.statuses import WorkspaceState
from models.tenancy import Database
from settings import load_settings
from tasks.sender import web_sender
from tests.integration.core.world import together
from tests.integration.runs.conftest import GRACE
from tests.integration.runs.own_system import OwnSystem
from tests.integration.runs.steps import SOON, calls, cancelled, key_of, settled, story
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.broadcast import Broadcaster, Change
from workspace.cancellation import Cancellation
from workspace.names import WorkspaceKey
from workspace.space import UserWorkerSpace

pytestmark = pytest.mark.stack

Reply = dict[str, Any]


@pytest.fixture(scope="module")
def control() -> Iterator[Celery]:
    """Sends commands as `celery control` does."""
    app = web_sender(load_settings())
    yield app
    app.close()


@pytest.fixture(scope="module")
def space() -> Iterator[Callable[[WorkspaceKey], UserWorkerSpace]]:
    """Workspaces as a web process has them."""
    web = build_web(load_settings())
    yield web.manager.get_or_create
    web.database.close()
    web.redis.close()


def command(control: Celery, name: str, key: WorkspaceKey) -> Reply:
    """Send a command to all nodes, and return the answer of the first."""
    arguments = {"user_id": str(key.user_id), "project_id": str(key.project_id)}
    replies = control.control.broadcast(name, arguments=arguments, reply=True, timeout=10, limit=1)
    (reply,) = replies[0].values()
    answer: Reply = reply
    return answer


def row(database: Database, key: WorkspaceKey) -> Workspace:
    with database.system_session("a test looks") as session:
        return session.get_one(Workspace, tuple(key))


def task(database: Database, task_id: str) -> Task:
    with database.system_session("a test looks") as session:
        return session.get_one(Task, UUID(task_id))


def closed(database: Database, key: WorkspaceKey) -> bool:
    found = row(database, key)
    return (found.state, found.node_id) == (WorkspaceState.CLEANED, None)


# -- reset -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["command", "call"])
def test_a_reset_ends_all_runs_at_once_and_the_next_message_is_answered(
    user: ApiClient,
    standin: Standin,
    database: Database,
    control: Celery,
    space: Callable[[WorkspaceKey], UserWorkerSpace],
    how: str,
) -> None:
    agent = user.make_agent(concurrency_limit=2)
    first, second = (user.make_session()["id"] for _ in range(2))
    running = [user.send(first, "[silent=60]"), user.send(second, "[gap=0.1] [tokens=300]")]
    held = user.send(first, "never answered")
    calls(standin, agent, 2)
    queued = [user.send(user.make_session()["id"], "never answered") for _ in range(3)]
    key = key_of(user, database)
    epoch = row(database, key).epoch
    if how == "command":
        assert command(control, "reset_workspace", key) == {"ok": "resetting"}
        eventually(lambda: row(database, key).epoch > epoch, "the new epoch", within=SOON)
    else:
        assert space(key).reset() == 6
    for one in (*running, held, *queued):
        run = user.run(one["run_id"])
        assert run["status"] == run["tasks"][0]["status"] == "cancelled"
        assert (run["error"]["error_code"], run["error"]["detail"]) == ("cancelled", "The workspace was reset.")
        assert run["why"] is None
    after = [user.send(user.make_session()["id"], "[delay=0.5]") for _ in range(5)]
    calls(standin, agent, 2, within=SOON + 5)
    for one in after:
        user.wait_for_run(one)
    assert standin.witness(agent["id"]) == {"current": 0, "max": 2, "total": 7}
    assert row(database, key).epoch == epoch + 1
    assert row(database, key).state is WorkspaceState.INITIALIZED
    for session in (first, second):
        assert user.messages(session, role="assistant") == [], "a late result was taken"
    with user.events(running[0]["events_url"]) as stream:
        user.answered(first, "[say=on]")
        events = stream.until("run_completed")
    for one in (running[0], held):
        assert story(events, one["run_id"])[-1] == "run_cancelled"


def test_a_reset_ends_the_model_calls_within_a_second_and_nothing_of_others(
    user: ApiClient, standin: Standin, database: Database, control: Celery
) -> None:
    agent = user.make_agent()
    elsewhere = user.inside(user.make_project()["id"])
    neighbour = elsewhere.make_agent()
    beside = elsewhere.send(elsewhere.make_session()["id"], "[silent=60]")
    user.send(user.make_session()["id"], "[silent=60]")
    calls(standin, agent, 1)
    calls(standin, neighbour, 1)
    assert command(control, "reset_workspace", key_of(user, database)) == {"ok": "resetting"}
    calls(standin, agent, 0, within=SOON)
    assert standin.witness(neighbour["id"])["current"] == 1
    assert elsewhere.run(beside["run_id"])["status"] == "running"
    cancelled(elsewhere, beside["run_id"])


def test_what_begins_after_a_reset_is_not_ended_by_the_hint_that_comes_late(
    user: ApiClient, standin: Standin, database: Database, store: redis.Redis
) -> None:
    agent = user.make_agent()
    user.answered(user.make_session()["id"], "[say=hosted]")
    key = key_of(user, database)
    Cancellation(database).reset(key)
    session = user.make_session()["id"]
    accepted = user.send(session, "[delay=4] [say=whole]")
    calls(standin, agent, 1)
    for _ in range(3):
        assert Broadcaster(store).tell(Change.WORKSPACE_RESET, key)
    user.wait_for_run(accepted)
    assert user.messages(session)[-1]["content"] == "whole"
    assert standin.witness(agent["id"])["total"] == 2


def test_a_reset_of_what_is_being_closed_waits_for_nothing(
    user: ApiClient,
    standin: Standin,
    database: Database,
    control: Celery,
    space: Callable[[WorkspaceKey], UserWorkerSpace],
) -> None:
    agent = user.make_agent()
    user.send(user.make_session()["id"], "[silent=60]")
    calls(standin, agent, 1)
    key = key_of(user, database)
    assert command(control, "close_workspace", key) == {"ok": "closing"}
    eventually(lambda: row(database, key).state is WorkspaceState.CLEANING, "the workspace to close")
    assert space(key).reset() == 1
    calls(standin, agent, 0, within=SOON)
    accepted = user.send(user.make_session()["id"], "[say=at once]")
    eventually(lambda: user.run(accepted["run_id"])["status"] == "completed", "the next answer", within=15)


def test_what_nobody_hosts_is_reset_in_the_rows(
    user: ApiClient, database: Database, control: Celery, space: Callable[[WorkspaceKey], UserWorkerSpace]
) -> None:
    user.make_agent()
    key = key_of(user, database)
    assert command(control, "reset_workspace", key) == {"ok": "not hosted here"}
    assert command(control, "close_workspace", key) == {"ok": "not hosted here"}
    assert space(key).reset() == 0
    user.answered(user.make_session()["id"], "[say=hello]")


@pytest.mark.parametrize("name", ["reset_workspace", "close_workspace"])
def test_commands_refuse_what_is_no_id_and_know_no_stranger(control: Celery, name: str) -> None:
    replies = control.control.broadcast(
        name, arguments={"user_id": "me", "project_id": "mine"}, reply=True, timeout=10, limit=1
    )
    (reply,) = replies[0].values()
    assert reply == {"error": "user_id and project_id are UUIDs"}
    assert command(control, name, WorkspaceKey(uuid4(), uuid4())) == {"ok": "not hosted here"}


# -- close -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["command", "call"])
def test_a_close_lets_running_work_end_and_the_next_message_opens_it_again(
    user: ApiClient,
    standin: Standin,
    database: Database,
    control: Celery,
    space: Callable[[WorkspaceKey], UserWorkerSpace],
    how: str,
) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    running = user.send(session, "[delay=4] [say=to the end]")
    calls(standin, agent, 1)
    key = key_of(user, database)
    epoch = row(database, key).epoch
    if how == "command":
        assert command(control, "close_workspace", key) == {"ok": "closing"}
    else:
        assert space(key).cleanup() is False
    eventually(lambda: row(database, key).state is WorkspaceState.CLEANING, "the workspace to close")
    user.wait_for_run(running)
    eventually(lambda: closed(database, key), "the workspace to be closed")
    assert row(database, key).epoch == epoch
    user.answered(session, "[say=open again]")
    assert [m["content"] for m in user.messages(session, role="assistant")] == ["to the end", "open again"]
    assert (row(database, key).state, row(database, key).epoch) == (WorkspaceState.INITIALIZED, epoch + 1)
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 2}


def test_messages_that_come_while_it_closes_are_answered_after_it(
    user: ApiClient, standin: Standin, database: Database, control: Celery
) -> None:
    agent = user.make_agent(concurrency_limit=1)
    running = user.send(user.make_session()["id"], "[delay=4]")
    calls(standin, agent, 1)
    queued = user.send(user.make_session()["id"], "[say=queued before]")
    key = key_of(user, database)
    command(control, "close_workspace", key)
    eventually(lambda: row(database, key).state is WorkspaceState.CLEANING, "the workspace to close")
    meanwhile = user.send(user.make_session()["id"], "[say=sent meanwhile]")
    assert [run["status"] for run in settled(user, [running, queued, meanwhile])] == ["completed"] * 3
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 3}


def test_a_message_at_the_very_moment_of_a_close_is_answered(
    user: ApiClient, standin: Standin, database: Database, control: Celery
) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    user.answered(session, "[say=hosted]")
    key = key_of(user, database)
    for _ in range(6):
        calls_at_once: list[Callable[[], Any]] = [
            partial(command, control, "close_workspace", key),
            partial(user.send, session, "[say=yes]"),
        ]
        _, sent = together(calls_at_once)
        assert isinstance(sent, dict), sent
        user.wait_for_run(sent)
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 7}


def test_what_does_not_end_within_the_grace_is_put_back_and_answered_by_the_next_host(
    small: OwnSystem, standin: Standin
) -> None:
    user = small.user()
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, f"[silent=60x1] [say=second attempt] {session}")
    calls(standin, agent, 1)
    key = key_of(user, small.database)
    epoch = row(small.database, key).epoch
    assert command(small.control, "close_workspace", key) == {"ok": "closing"}
    user.wait_for_run(accepted)
    assert user.messages(session)[-1]["content"] == "second attempt"
    found = task(small.database, accepted["task_id"])
    assert found.attempts == 2
    assert found.epoch is not None
    assert found.epoch > epoch
    with user.events(accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    starts = [event for event in events if event.type == "task_started"]
    assert [event.payload["attempt"] for event in starts] == [1, 2]
    told = [float(str(event.id).partition("-")[0]) / 1000 for event in starts]
    assert told[1] - told[0] >= GRACE - 0.5, "the grace was cut short"


def test_what_is_cancelled_while_it_is_put_back_is_not_answered(small: OwnSystem, standin: Standin) -> None:
    user = small.user()
    agent = user.make_agent()
    session = user.make_session()["id"]
    accepted = user.send(session, "[silent=60]")
    calls(standin, agent, 1)
    key = key_of(user, small.database)
    command(small.control, "close_workspace", key)
    cancelled(user, accepted["run_id"])
    user.wait_for_run(accepted, status="cancelled")
    user.answered(session, "[say=next]")
    assert standin.witness(agent["id"])["total"] == 2


# -- idle --------------------------------------------------------------------------------------------------------


def attached(small: OwnSystem, key: WorkspaceKey) -> set[str] | None:
    """The agents whose queues are consumed; `None` where the workspace is not hosted."""
    replies = small.control.control.broadcast("workspaces", reply=True, timeout=10, limit=1)
    (reply,) = replies[0].values()
    shown = reply["workspaces"].get(key.slug)
    return set(shown["agents"]) if shown else None


def test_an_idle_workspace_is_closed_and_opens_with_the_next_message(small: OwnSystem) -> None:
    user = small.user()
    user.make_agent()
    session = user.make_session()["id"]
    for number in range(2):
        user.answered(session, f"[say=answer {number}]")
        key = key_of(user, small.database)
        assert row(small.database, key).epoch == number + 1
        eventually(partial(closed, small.database, key), "the idle workspace to be closed")
        assert attached(small, key) is None


def test_an_idle_agent_is_let_go_while_another_works_and_comes_back(small: OwnSystem, standin: Standin) -> None:
    user = small.user()
    user.make_agent("idle")
    busy = user.make_agent("busy")
    session = user.make_session()["id"]
    user.answered(session, "[say=one]", agent="idle")
    working = user.send(user.make_session()["id"], "[silent=60]", agent="busy")
    calls(standin, busy, 1)
    key = key_of(user, small.database)
    eventually(lambda: attached(small, key) == {"busy"}, "the idle agent to be let go", every=0.3)
    user.answered(session, "[say=two]", agent="idle")
    assert user.run(working["run_id"])["status"] == "running"
    assert row(small.database, key).epoch == 1
    cancelled(user, working["run_id"])


def test_messages_about_the_moment_of_an_idle_close_are_all_answered(small: OwnSystem) -> None:
    users = [small.user() for _ in range(5)]
    places = []
    for user in users:
        user.make_agent()
        places.append((user, user.make_session()["id"], key_of(user, small.database)))
    for user, session, _ in places:
        user.answered(session, "[say=hosted]")
    for _ in range(2):
        for user, session, key in places:
            # The first look at which it is not hosted as before: closing, closed, or open under a new epoch.
            eventually(
                lambda key=key: row(small.database, key).state is not WorkspaceState.INITIALIZED,  # type: ignore[misc]
                "the close to begin",
                every=0.005,
            )
            user.answered(session, "[say=again]")
