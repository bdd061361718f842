"""A plan is made once for the same request and team; the cache is never trusted and never needed."""

import json
import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import redis

from models.statuses import MessageRole
from orchestrator.planner.cache import digest_of
from orchestrator.planner.model_planner import ModelPlanner
from orchestrator.planner.prompt import planning_messages
from orchestrator.planning import Planned, PlanningRequest
from orchestrator.plans.plan import Plan
from settings import Settings
from tests.integration.core.planning.conftest import OPEN_FOR, MakePlanner
from tests.support.proxy import proxy
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.unit.orchestrator.graphs import task
from tests.unit.orchestrator.planning_requests import TEAM, planning_request, said, written
from workspace.interruptible import StopSignal, Watch
from workspace.names import WorkspaceKey
from workspace.plans.view import PlanSource
from workspace.usage import NO_USAGE

pytestmark = pytest.mark.stack

GOOD = written(task("a"), task("b", "a"))
OTHER = written(task("other"))
MESSAGE = f"Do it. [plan={GOOD}]"


def plan(planner: ModelPlanner, request: PlanningRequest) -> Planned:
    return planner.plan(request, Watch(StopSignal(), deadline=time.monotonic() + 60, on_wait=lambda: 1.0))


def total(standin: Standin, request: PlanningRequest) -> int:
    return standin.witness(str(request.key.project_id))["total"]


def name_of(request: PlanningRequest, settings: Settings) -> str:
    """The key that the plan of a request is under."""
    model = request.config.model or settings.default_model
    return request.key.plan(digest_of(request, planning_messages(request), model))


def test_the_same_request_is_planned_once_and_costs_nothing_again(planner: ModelPlanner, standin: Standin) -> None:
    request = planning_request(MESSAGE)
    first, second = plan(planner, request), plan(planner, replace(request, run_id=uuid4()))
    assert (first.source, second.source) == (PlanSource.MODEL, PlanSource.CACHE)
    assert second.plan == first.plan
    assert second.usage == NO_USAGE
    assert total(standin, request) == 1


def test_a_repaired_plan_is_kept_as_well(planner: ModelPlanner) -> None:
    request = planning_request(f"[plan=[{{}}, {GOOD}]]")
    assert [plan(planner, request).source for _ in range(2)] == [PlanSource.REPAIRED, PlanSource.CACHE]


def test_a_simple_plan_is_not_kept(planner: ModelPlanner, new_redis: redis.Redis) -> None:
    request = planning_request("[plan={}]")
    assert [plan(planner, request).source for _ in range(2)] == [PlanSource.FALLBACK] * 2
    assert new_redis.keys() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"config_version": 2},
        {"team": (replace(TEAM[0], version=2), *TEAM[1:])},
        {"team": TEAM[1:]},
        {"conversation": (said(MessageRole.USER, "Hello"), said(MessageRole.USER, MESSAGE))},
        {"key": WorkspaceKey(uuid4(), uuid4())},
    ],
    ids=["config", "an agent's version", "team", "conversation", "tenant"],
)
def test_what_a_plan_depends_on_has_changed_and_it_is_made_anew(planner: ModelPlanner, changes: dict[str, Any]) -> None:
    request = planning_request(MESSAGE)
    plan(planner, request)
    assert plan(planner, replace(request, **changes)).source is PlanSource.MODEL
    assert plan(planner, request).source is PlanSource.CACHE


def test_a_project_may_have_each_message_planned_anew(planner: ModelPlanner, new_redis: redis.Redis) -> None:
    request = planning_request(MESSAGE, cache_plans=False)
    assert [plan(planner, request).source for _ in range(2)] == [PlanSource.MODEL] * 2
    assert new_redis.keys() == []


def test_a_key_is_its_tenants_and_ends_by_itself(
    planner: ModelPlanner, new_redis: redis.Redis, settings: Settings
) -> None:
    request = planning_request(MESSAGE)
    plan(planner, request)
    (name,) = new_redis.keys()
    assert name.decode() == name_of(request, settings)
    assert name.decode().startswith(request.key.prefix)
    assert OPEN_FOR - 60 < new_redis.ttl(name) <= OPEN_FOR


@pytest.mark.parametrize(
    "value",
    [
        "",
        "no json",
        "{}",
        b"\xff\xfe",
        written(task("a", "b"), task("b", "a")),
        written(task("a", agent="one-who-is-gone")),
        written(*(task(f"t{number}") for number in range(3))),
    ],
    ids=["empty", "words", "no plan", "no text", "cyclic", "unknown agent", "too many tasks"],
)
def test_what_is_no_plan_for_this_team_is_a_miss_and_replaced(
    planner: ModelPlanner, new_redis: redis.Redis, settings: Settings, value: str | bytes
) -> None:
    request = planning_request(MESSAGE, max_tasks=2)
    new_redis.set(name_of(request, settings), value, ex=100)
    assert plan(planner, request).source is PlanSource.MODEL
    assert plan(planner, request).source is PlanSource.CACHE


def test_a_key_of_another_type_is_a_miss_and_replaced(
    planner: ModelPlanner, new_redis: redis.Redis, settings: Settings
) -> None:
    request = planning_request(MESSAGE)
    new_redis.rpush(name_of(request, settings), "x")
    assert [plan(planner, request).source for _ in range(2)] == [PlanSource.MODEL, PlanSource.CACHE]


def test_a_plan_that_is_there_is_used(planner: ModelPlanner, new_redis: redis.Redis, settings: Settings) -> None:
    request = planning_request(MESSAGE)
    new_redis.set(name_of(request, settings), OTHER, ex=100)
    found = plan(planner, request)
    assert (found.source, found.plan) == (PlanSource.CACHE, Plan.model_validate(json.loads(OTHER)))


@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_without_redis_each_message_is_planned_and_none_fails(
    make_planner: MakePlanner, stack: Stack, how: str
) -> None:
    request = planning_request(MESSAGE)
    with proxy(stack.redis_url) as door:
        client = redis.Redis.from_url(door.url, socket_timeout=0.3, socket_connect_timeout=0.3)
        with make_planner(client=client) as planner:
            getattr(door, how)()
            began = time.monotonic()
            assert plan(planner, request).source is PlanSource.MODEL
            assert time.monotonic() - began < 3
            door.mend()
        client.close()
