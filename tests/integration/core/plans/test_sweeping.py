"""What the sweeper finds of plans: tasks that nothing holds back, lost counters, and what lost nodes left."""

from datetime import timedelta

import pytest

from models import utc_now
from models.statuses import RunStatus, TaskStatus
from tests.integration.core.plans.test_rows import Launched, launched
from tests.integration.core.sweeping.parts import Deployment
from workspace.names import CLOSING_ID, PLANNING_ID
from workspace.plans.edges import Join
from workspace.sweeping.plans import StuckPlans

pytestmark = pytest.mark.stack

LONG_AGO = timedelta(minutes=1)


def age(plan: Launched) -> None:
    """Let everything of a plan be of a minute ago."""
    for task in plan.world.tasks():
        ended = utc_now() - LONG_AGO if task.finished_at else None
        plan.world.change_task(task.id, created_at=utc_now() - LONG_AGO, finished_at=ended)


def test_a_task_that_waits_for_nothing_any_more_is_queued_and_sent(deployment: Deployment) -> None:
    plan = launched(deployment.world(), a=(), b=(), c=("a", "b"))
    plan.complete("a")
    age(plan)
    sweep = StuckPlans(deployment.database, deployment.parts)
    assert sweep.promote() == 0
    plan.complete("b")
    assert sweep.promote() == 0, "its chord may be on the way"
    age(plan)
    assert sweep.promote() == 1
    assert deployment.parts.sent == [plan.task("c").id]
    assert plan.task("c").status is TaskStatus.QUEUED
    assert sweep.promote() == 0


def test_a_chord_without_a_counter_gets_one_and_the_parts_that_were_sent(deployment: Deployment) -> None:
    plan = launched(deployment.world(), a=(), b=(), c=("a", "b"))
    plan.complete("a")
    sweep = StuckPlans(deployment.database, deployment.parts)
    assert sweep.reopen() == 0, "its launch may still make the counter"
    age(plan)
    deployment.parts.counted.append(Join(plan.run_id, "c", 2))
    assert sweep.reopen() == 0
    deployment.parts.counted.clear()
    assert sweep.reopen() == 1
    assert deployment.parts.opened == [Join(plan.run_id, "c", 2)]
    assert [(each.dependency, each.index) for each in deployment.parts.arrived] == [("a", 0)]


def test_a_planning_task_of_a_lost_node_begins_anew_twice_and_fails_then(deployment: Deployment) -> None:
    world = deployment.world()
    plan = Launched(world, {"a": ()})
    planning = plan.planning.id
    for attempt in (1, 2):
        world.change_workspace(epoch=attempt + 1)
        assert deployment.lost_hosts().fail_lost() == 1
        row = world.task(planning)
        assert (row.status, row.node_id) == (TaskStatus.QUEUED, None)
        assert world.run(plan.run_id).status is RunStatus.PLANNING
        world.change_task(planning, status=TaskStatus.RUNNING, node_id="node", epoch=attempt + 1, attempts=attempt + 1)
    assert deployment.parts.sent == [planning] * 2
    world.change_workspace(epoch=4)
    assert deployment.lost_hosts().fail_lost() == 1
    assert plan.statuses() == {PLANNING_ID: "failed"}
    run = world.run(plan.run_id)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error["error_code"] == "worker_lost"
    assert deployment.parts.over == [plan.run_id]


def test_a_task_of_an_agent_that_was_lost_is_not_done_again_and_the_plan_goes_on(deployment: Deployment) -> None:
    world = deployment.world()
    plan = launched(world, a=(), b=("a",))
    plan.start("a")
    world.change_workspace(epoch=2)
    assert deployment.lost_hosts().fail_lost() == 1
    assert plan.statuses() == {PLANNING_ID: "completed", "a": "failed", "b": "skipped", CLOSING_ID: "queued"}
    assert world.run(plan.run_id).status is RunStatus.RUNNING
    assert plan.task(CLOSING_ID).id in deployment.parts.sent
