"""`/admin/workspaces/`: health and numbers of the workspaces of all users."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from models import utc_now
from tests.integration.oversight.conftest import Estate, MakeEstate
from tests.support.answers import refused
from tests.support.api import ApiClient, Json
from tests.support.proxy import Proxy

pytestmark = pytest.mark.stack

HEALTH = {"healthy", "total_spaces", "healthy_spaces", "unhealthy_spaces", "details", "next_cursor"}
STATS = {"active_spaces", "spaces", "next_cursor"}


def health(admin: ApiClient, estate: Estate | None = None, **query: Any) -> Json:
    return ask(admin, "health", HEALTH, estate, query)


def stats(admin: ApiClient, estate: Estate | None = None, **query: Any) -> Json:
    return ask(admin, "stats", STATS, estate, query)


def ask(admin: ApiClient, what: str, fields: set[str], estate: Estate | None, query: dict[str, Any]) -> Json:
    if estate is not None:
        query["user_id"] = str(next(iter(estate.worlds.values())).key.user_id)
    answer = admin.get(f"/admin/workspaces/{what}", **query)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    assert set(body) == fields
    return body


def test_health_tells_of_each_workspace_how_it_is(admin: ApiClient, make_estate: MakeEstate) -> None:
    estate = make_estate("well", "silent", "ill", "free")
    estate.report("well")
    estate.report("ill")
    estate.worlds["ill"].agent("second")
    estate.worlds["ill"].change_agent(status="error", status_reason="said by the provider")
    seen = health(admin, estate)
    assert (seen["healthy"], seen["total_spaces"], seen["healthy_spaces"]) == (False, 3, 2)
    assert seen["unhealthy_spaces"] == [estate.slug("silent")]
    assert set(seen["details"]) == estate.slugs("well", "silent", "ill")
    assert seen["details"][estate.slug("well")] == {
        "healthy": True,
        "agents": 1,
        "initialized": True,
        "status": "healthy",
        "reasons": [],
    }
    silent, ill = (seen["details"][estate.slug(name)] for name in ("silent", "ill"))
    assert (silent["healthy"], silent["status"]) == (False, "unhealthy")
    assert [reason["code"] for reason in silent["reasons"]] == ["host_silent"]
    assert (ill["healthy"], ill["status"], ill["agents"]) == (True, "degraded", 2)
    assert ill["reasons"] == [{"code": "agent_error", "detail": "Agent helper is in error."}]


def test_a_deployment_whose_workspaces_are_all_well_is_healthy(admin: ApiClient, make_estate: MakeEstate) -> None:
    estate = make_estate("one", "two")
    estate.report("one")
    estate.report("two")
    seen = health(admin, estate)
    assert (seen["healthy"], seen["healthy_spaces"], seen["unhealthy_spaces"]) == (True, 2, [])


def test_a_workspace_without_a_host_is_told_of_once_its_work_waits_too_long(
    admin: ApiClient, make_estate: MakeEstate
) -> None:
    estate = make_estate("free")
    world = estate.worlds["free"]
    accepted = world.accept()
    assert health(admin, estate)["total_spaces"] == 0
    world.change_task(accepted.task_id, sent_at=utc_now() - timedelta(seconds=30))
    seen = health(admin, estate)
    assert (seen["total_spaces"], seen["unhealthy_spaces"]) == (1, [world.key.slug])
    assert [each["code"] for each in seen["details"][world.key.slug]["reasons"]] == ["no_host"]
    assert stats(admin, estate)["active_spaces"] == 0


def test_a_workspace_in_error_is_told_of_without_a_host(admin: ApiClient, make_estate: MakeEstate) -> None:
    estate = make_estate("free")
    estate.worlds["free"].change_workspace(state="error")
    assert health(admin, estate)["unhealthy_spaces"] == [estate.slug("free")]


def test_a_report_of_an_earlier_claim_does_not_count(admin: ApiClient, make_estate: MakeEstate) -> None:
    estate = make_estate("moved")
    estate.report("moved", epoch=0)
    assert health(admin, estate)["unhealthy_spaces"] == [estate.slug("moved")]


def test_stats_tell_what_each_hosted_workspace_has_and_does(admin: ApiClient, make_estate: MakeEstate) -> None:
    estate = make_estate("busy", "idle", "free")
    busy = estate.worlds["busy"]
    ready = utc_now() - timedelta(hours=1)
    busy.change_workspace(initialized_at=ready)
    estate.report("busy", cache=2)
    estate.started("busy")
    busy.accept()  # held: its session is busy
    busy.accept(busy.session())
    seen = stats(admin, estate)
    assert seen["active_spaces"] == 2
    assert set(seen["spaces"]) == estate.slugs("busy", "idle")
    shown = seen["spaces"][busy.key.slug]
    assert shown.pop("initialization_time").replace("Z", "+00:00") == ready.isoformat()
    assert shown == {
        "user_id": str(busy.key.user_id),
        "project_id": str(busy.key.project_id),
        "state": "in_use",
        "initialized": True,
        "active_agents": 1,
        "agent_ids": [str(busy.agent_id)],
        "cache_size": 2,
        "running": 1,
        "queued": 2,
        "node_id": busy.workspace().node_id,
        "epoch": 1,
    }
    idle = seen["spaces"][estate.slug("idle")]
    assert (idle["state"], idle["active_agents"], idle["agent_ids"]) == ("initialized", 0, [])


@pytest.mark.parametrize(("look", "part"), [(health, "details"), (stats, "spaces")], ids=["health", "stats"])
def test_pages_show_each_workspace_once_and_totals_count_all(
    admin: ApiClient, make_estate: MakeEstate, look: Any, part: str
) -> None:
    estate = make_estate(*"abcde")
    whole = look(admin, estate)
    assert whole["next_cursor"] is None
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(5):
        page = look(admin, estate, limit=2, **cursor)
        assert {name: page[name] for name in page if name not in {part, "next_cursor"}} == {
            name: whole[name] for name in whole if name not in {part, "next_cursor"}
        }
        seen += page[part]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == 5
    assert seen == sorted(whole[part]) == sorted(estate.slugs(*"abcde"))


def test_without_a_filter_all_users_are_shown(admin: ApiClient, make_estate: MakeEstate) -> None:
    estates = [make_estate("one") for _ in range(2)]
    seen = stats(admin, limit=10_000)
    assert {estate.slug("one") for estate in estates} <= set(seen["spaces"])
    assert seen["active_spaces"] == len(seen["spaces"])


def test_a_user_without_workspaces_is_an_empty_answer(admin: ApiClient) -> None:
    nobody = {"user_id": "00000000-0000-0000-0000-000000000000"}
    assert stats(admin, **nobody) == {"active_spaces": 0, "spaces": {}, "next_cursor": None}
    assert health(admin, **nobody)["healthy"] is True


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"user_id": "x"}, "user_id"),
        ({"cursor": "x" * 129}, "cursor"),
        ({"cursor": "\0"}, "cursor"),
        ({"offset": 1}, "offset"),
    ],
)
@pytest.mark.parametrize("what", ["health", "stats"])
def test_a_bad_query_is_refused(admin: ApiClient, what: str, query: dict[str, Any], where: str) -> None:
    assert refused(admin.get(f"/admin/workspaces/{what}", **query))[0]["loc"] == [where]


@pytest.fixture
def away(wire: Proxy) -> Iterator[None]:
    """Redis is away for the length of a test."""
    wire.cut()
    yield
    wire.mend()


def test_without_redis_the_rows_are_shown_and_nobody_is_called_silent(
    admin: ApiClient, make_estate: MakeEstate, away: None
) -> None:
    estate = make_estate("hosted")
    seen = health(admin, estate)
    assert (seen["healthy"], seen["total_spaces"]) == (True, 1)
    shown = seen["details"][estate.slug("hosted")]
    assert (shown["status"], [each["code"] for each in shown["reasons"]]) == ("degraded", ["reports_unavailable"])
    assert stats(admin, estate)["active_spaces"] == 1
    assert estate.seen_by_owner("hosted")["idle_seconds"] is None
