"""One user's agents together work on as many tasks as the user may have at work, and on no fewer."""

import time
from typing import Any

import pytest
from sqlalchemy import func, select

from models import Task
from models.statuses import TaskStatus
from tests.integration.runs.conftest import CAP
from tests.integration.runs.own_system import OwnSystem
from tests.integration.runs.steps import calls, cancelled
from tests.support.api import FINAL, ApiClient
from tests.support.rows import user_id
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def busy(standin: Standin, agents: list[dict[str, Any]]) -> int:
    return sum(standin.witness(agent["id"])["current"] for agent in agents)


def running(small: OwnSystem, user: ApiClient) -> int:
    owner = user_id(small.database, user.subject)
    with small.database.system_session("a test counts") as session:
        counted = select(func.count(Task.id)).where(Task.user_id == owner, Task.status == TaskStatus.RUNNING)
        return session.scalars(counted).one()


def test_agents_of_several_projects_share_the_cap_and_keep_it_filled(small: OwnSystem, standin: Standin) -> None:
    user, other = small.user(), small.user()
    homes = [user, user.inside(user.make_project()["id"])]
    agents = [home.make_agent(name, concurrency_limit=4) for home in homes for name in ("first", "second")]
    places = [
        (home, name, home.make_session()["id"]) for _ in range(4) for home in homes for name in ("first", "second")
    ]
    stranger = other.make_agent()
    other.answered(other.make_session()["id"], "[say=warm]")
    started = time.monotonic()
    sent = [(home, home.send(session, "[delay=0.8]", agent=name)) for home, name, session in places]
    beside = other.send(other.make_session()["id"], "[say=not held back]")
    unfinished = [(home, one["run_id"]) for home, one in sent]
    most = 0
    while unfinished:
        most = max(most, running(small, user))
        assert busy(standin, agents) <= CAP
        unfinished = [(home, run) for home, run in unfinished if home.run(run)["status"] not in FINAL]
        assert time.monotonic() - started < 90, "the rest was never answered"
    took = time.monotonic() - started
    assert most == CAP
    for home, one in sent:
        home.wait_for_run(one)
    assert sum(standin.witness(agent["id"])["total"] for agent in agents) == len(places)
    ideal = len(places) / CAP * 0.8
    assert took < 3 * ideal + 3, "the places were not kept filled"
    assert other.wait_for_run(beside)["finished_at"] < max(home.run(one["run_id"])["finished_at"] for home, one in sent)
    assert standin.witness(stranger["id"])["total"] == 2


def test_what_waits_for_the_cap_says_so_and_can_be_cancelled(small: OwnSystem, standin: Standin) -> None:
    user = small.user()
    agent, idle = user.make_agent(concurrency_limit=CAP), user.make_agent("idle")
    silent = [user.send(user.make_session()["id"], "[silent=120]") for _ in range(CAP)]
    calls(standin, agent, CAP)
    session = user.make_session()["id"]
    first = user.send(session, "never answered", agent="idle")
    behind = user.send(session, "[say=at last]", agent="idle")
    assert (first["status"], behind["status"]) == ("held", "held")
    assert user.run(first["run_id"])["tasks"][0]["held_reason"] == "user_cap"
    assert user.run(first["run_id"])["why"]["code"] == "user_cap"
    assert user.run(behind["run_id"])["why"]["run_id"] == first["run_id"]
    assert cancelled(user, first["run_id"])["status"] == "cancelled"
    # Its session lets the next one go, and its start holds that back: the cap is still reached.
    with user.events(behind["events_url"]) as stream:
        told = stream.until("task_waiting")[-1]
        assert told.body["run_id"] == behind["run_id"]
        assert told.payload["reason"] == "user_cap"
        assert told.payload["agent_name"] == "idle"
        eventually(lambda: user.run(behind["run_id"])["why"]["code"] == "user_cap", "it to wait for the cap")
        assert standin.witness(idle["id"])["total"] == 0
        cancelled(user, silent[0]["run_id"])
        stream.until("run_completed")
    for one in silent[1:]:
        cancelled(user, one["run_id"])
    user.answered(session, "[say=free]", agent="idle")


def test_a_deleted_session_makes_room_for_what_waits(small: OwnSystem, standin: Standin) -> None:
    user = small.user()
    agent = user.make_agent(concurrency_limit=CAP)
    sessions = [user.make_session()["id"] for _ in range(CAP)]
    for session in sessions:
        user.send(session, "[silent=120]")
    calls(standin, agent, CAP)
    waiting = user.send(user.make_session()["id"], "[say=my turn]")
    assert waiting["status"] == "held"
    for session in sessions:
        assert user.delete(f"chat/sessions/{session}/").status_code == 204
    user.wait_for_run(waiting)
