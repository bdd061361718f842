"""What is lost in the middle of a plan is sent again: each task has one end, and the plan comes to its closing task."""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest
import redis

from models.statuses import TaskStatus
from tests.integration.plans.launched import Launcher, in_order, launcher_of
from tests.integration.runs.own_system import OwnSystem, own_system
from tests.support.launches import Wanted, random_tasks
from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

AGENTS = ("analyst", "writer")


@pytest.fixture(scope="module")
def system(stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    with own_system(http, stack, tmp_path_factory.mktemp("plans"), redis_from=12) as made:
        yield made


@pytest.fixture(scope="module")
def own_plans(system: OwnSystem) -> Iterator[Launcher]:
    settings = system.settings.model_copy(update={"result_backend_url": str(system.options["RESULT_BACKEND_URL"])})
    with launcher_of(settings, system.database) as launcher:
        yield launcher


def diamond() -> dict[str, Wanted]:
    """Two tasks side by side, one of which takes long, and one that waits for both."""
    return {
        "first": Wanted("writer", "[say=first]"),
        "quick": Wanted("writer", "[say=quick]", ("first",)),
        "slow": Wanted("writer", "[delay=5] [say=slow]", ("first",)),
        "join": Wanted("writer", "[say=joined]", ("quick", "slow")),
        "last": Wanted("analyst", "[say=last]", ("join",)),
    }


def flush(system: OwnSystem, *names: str) -> None:
    for name in names:
        with redis.Redis.from_url(str(system.options[name])) as client:
            client.flushdb()


@pytest.mark.parametrize(
    "lost",
    [("RESULT_BACKEND_URL",), ("BROKER_URL",), ("BROKER_URL", "RESULT_BACKEND_URL", "REDIS_URL", "CACHE_URL")],
    ids=["the results", "the broker", "all of Redis"],
)
def test_a_plan_survives_what_redis_loses_in_its_middle(
    system: OwnSystem, own_plans: Launcher, lost: tuple[str, ...]
) -> None:
    run = own_plans.launch(system.user(), diamond())
    run.becomes("quick", TaskStatus.COMPLETED)
    flush(system, *lost)
    tasks = run.settled(within=90)
    assert {task.status for task in tasks.values()} == {TaskStatus.COMPLETED}, run.statuses()
    in_order(tasks)
    run.closing_is_due()


def test_a_random_plan_survives_that_redis_loses_everything(system: OwnSystem, own_plans: Launcher) -> None:
    run = own_plans.launch(system.user(), random_tasks(15, 7, AGENTS))
    eventually(lambda: "completed" in run.statuses().values(), "the plan to be under way")
    flush(system, "BROKER_URL", "RESULT_BACKEND_URL", "REDIS_URL", "CACHE_URL")
    tasks = run.settled(within=120)
    assert {task.status for task in tasks.values()} == {TaskStatus.COMPLETED}, run.statuses()
    in_order(tasks)


def test_a_killed_node_fails_what_it_ran_and_the_rest_of_the_plan_goes_on(
    system: OwnSystem, own_plans: Launcher
) -> None:
    graph = {
        "done": Wanted("writer", "[say=done]"),
        "at_work": Wanted("writer", "[delay=60]", ("done",)),
        "lost": Wanted("writer", after=("at_work",)),
        "asks": Wanted("analyst", "[delay=60]", ("done",)),
    }
    run = own_plans.launch(system.user(), graph)
    run.becomes("at_work", TaskStatus.RUNNING)
    run.becomes("asks", TaskStatus.RUNNING)
    node = own_plans.node_of(run.key)
    assert node is not None
    with system.node():
        os.kill(int(node.split(":")[1]), signal.SIGKILL)
        tasks = run.settled(within=90)
        assert run.statuses() == {"done": "completed", "at_work": "failed", "lost": "skipped", "asks": "failed"}
        assert tasks["at_work"].error is not None
        assert tasks["at_work"].error["error_code"] == "worker_lost"
        run.closing_is_due()
