"""`workspace/`: what its owner sees of it."""

from datetime import timedelta

import pytest

from models import utc_now
from tests.conftest import MakeUser
from tests.integration.oversight.conftest import MakeEstate
from tests.support.api import ApiClient

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("place", ["/my", "/my/projects/{id}"])
def test_a_workspace_that_was_never_used_is_healthy(make_user: MakeUser, place: str) -> None:
    user = make_user()
    client = user if place == "/my" else user.inside(user.make_project()["id"])
    agent = client.make_agent(concurrency_limit=7)
    seen = client.get("workspace/").json()
    assert seen.pop("created_at")
    assert seen == {
        "state": "not_initialized",
        "hosted": False,
        "health": {"status": "healthy", "reasons": []},
        "settings": {},
        "agents": [
            {
                "id": agent["id"],
                "name": "helper",
                "status": "ready",
                "attached": False,
                "limit": 7,
                "running": 0,
                "queued": 0,
            }
        ],
        "running": 0,
        "queued": 0,
        "held": 0,
        "cache_size": 0,
        "epoch": 0,
        "initialized_at": None,
        "idle_seconds": None,
    }


def test_a_message_gets_it_a_host(user: ApiClient) -> None:
    user.make_agent()
    user.answered(user.make_session()["id"], "Hello")
    seen = user.get("workspace/").json()
    assert (seen["hosted"], seen["epoch"], seen["running"]) == (True, 1, 0)


def test_its_work_and_what_its_host_says_are_shown(make_estate: MakeEstate) -> None:
    estate = make_estate("busy")
    world = estate.worlds["busy"]
    estate.report("busy", cache=4)
    other = world.agent("other", concurrency_limit=9)
    estate.started("busy")
    world.accept()
    world.accept(world.session(), agent="other")
    seen = estate.seen_by_owner("busy")
    assert (seen["state"], seen["hosted"], seen["epoch"]) == ("in_use", True, 1)
    assert (seen["running"], seen["queued"], seen["held"]) == (1, 1, 1)
    assert seen["cache_size"] == 4
    assert 2.5 <= seen["idle_seconds"] < 60
    assert seen["health"] == {"status": "healthy", "reasons": []}
    first, second = seen["agents"]
    assert first == {
        "id": str(world.agent_id),
        "name": "helper",
        "status": "busy",
        "attached": True,
        "limit": 3,
        "running": 1,
        "queued": 1,
    }
    assert second == {
        "id": str(other),
        "name": "other",
        "status": "ready",
        "attached": False,
        "limit": 9,
        "running": 0,
        "queued": 1,
    }


def test_its_owner_is_told_what_is_wrong(make_estate: MakeEstate) -> None:
    estate = make_estate("ill")
    world = estate.worlds["ill"]
    estate.report("ill", suspended=True)
    started = estate.started("ill")
    world.change_task(started.task_id, started_at=utc_now() - timedelta(seconds=700))
    for _ in range(9):
        world.accept()
    health = estate.seen_by_owner("ill")["health"]
    assert health["status"] == "unhealthy"
    assert [reason["code"] for reason in health["reasons"]] == ["host_suspended", "stuck_task", "queue_almost_full"]
    assert health["reasons"][2]["detail"] == "Tasks that wait for agent helper: 9 of 10."
