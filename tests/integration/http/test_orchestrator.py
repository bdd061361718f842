"""`orchestrator/`: how a project plans, and how well its estimates did."""

from typing import Any

import pytest

from tests.conftest import MakeUser
from tests.support.answers import refused
from tests.support.api import ApiClient

pytestmark = pytest.mark.stack

DEFAULTS = {
    "model": None,
    "instructions": "",
    "temperature": None,
    "plan_approval": "complex",
    "cost_limit_usd": None,
    "max_tasks": 30,
    "cache_plans": True,
}
EVERYTHING = {
    "model": "stand-in",
    "instructions": "Use few tasks.",
    "temperature": 0.5,
    "plan_approval": "always",
    "cost_limit_usd": "0.25",
    "max_tasks": 5,
    "cache_plans": False,
}
NOTHING = {"count": 0, "within_p50": None, "within_p90": None, "median_ratio": None}
CONFIG = "orchestrator/config/"


def test_before_anything_is_set_the_defaults_are_told(client: ApiClient) -> None:
    answer = client.get(CONFIG)
    assert answer.status_code == 200
    assert answer.json() == {**DEFAULTS, "version": 0, "updated_at": None}


def test_a_config_is_kept_as_it_is_given(client: ApiClient) -> None:
    answer = client.put(CONFIG, EVERYTHING)
    assert answer.status_code == 200
    told = answer.json()
    assert told == {**EVERYTHING, "version": 1, "updated_at": told["updated_at"]}
    assert client.get(CONFIG).json() == told


def test_a_config_is_replaced_as_a_whole(client: ApiClient) -> None:
    client.put(CONFIG, EVERYTHING)
    told = client.put(CONFIG, {"max_tasks": 3}).json()
    assert told == {**DEFAULTS, "max_tasks": 3, "version": 2, "updated_at": told["updated_at"]}


def test_the_same_config_again_is_no_change(client: ApiClient) -> None:
    assert [client.put(CONFIG, EVERYTHING).json()["version"] for _ in range(2)] == [1, 1]


def test_each_project_has_a_config_of_its_own(client: ApiClient) -> None:
    second = client.inside(client.make_project("second")["id"])
    second.put(CONFIG, EVERYTHING)
    assert client.get(CONFIG).json()["version"] == 0
    assert second.get(CONFIG).json()["instructions"] == "Use few tasks."


def test_what_one_user_sets_is_not_told_to_another(client: ApiClient, make_user: MakeUser) -> None:
    client.put(CONFIG, EVERYTHING)
    assert make_user().get(CONFIG).json()["version"] == 0


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"max_tasks": 0}, "max_tasks"),
        ({"max_tasks": 31}, "max_tasks"),
        ({"max_tasks": "5"}, "max_tasks"),
        ({"plan_approval": "never"}, "plan_approval"),
        ({"temperature": 2.1}, "temperature"),
        ({"cost_limit_usd": 0}, "cost_limit_usd"),
        ({"cost_limit_usd": "NaN"}, "cost_limit_usd"),
        ({"cache_plans": 1}, "cache_plans"),
        ({"model": ""}, "model"),
        ({"instructions": "x" * 20_001}, "instructions"),
        ({"version": 7}, "version"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense_is_refused(client: ApiClient, body: dict[str, Any], where: str) -> None:
    (mistake, *_) = refused(client.put(CONFIG, body))
    assert where in mistake["loc"]
    assert client.get(CONFIG).json()["version"] == 0


def test_without_a_run_there_is_nothing_to_judge(client: ApiClient) -> None:
    answer = client.get("orchestrator/calibration/")
    assert answer.status_code == 200
    both = {"duration": NOTHING, "cost": NOTHING}
    assert answer.json() == {"runs": 0, "tasks": both, "plans": both}


@pytest.mark.parametrize("runs", [0, 501, "many"])
def test_so_many_runs_cannot_be_judged(client: ApiClient, runs: Any) -> None:
    refused(client.get("orchestrator/calibration/", runs=runs))
