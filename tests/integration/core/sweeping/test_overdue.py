"""What is past its deadline is ended, and what is stuck is told of."""

import pytest

from models import utc_now
from models.statuses import CancelReason, RunStatus, TaskStatus
from tests.integration.core.sweeping.parts import (
    RUN_MAX_AGE,
    STUCK_AFTER,
    TASK_DEADLINE,
    Deployment,
    Parts,
    ago,
    queue,
)
from tests.integration.core.world import World
from workspace.broadcast import Change
from workspace.events import RunFailed
from workspace.sweeping.overdue import MERCY

pytestmark = pytest.mark.stack


# -- runs --------------------------------------------------------------------------------------------------------


def test_a_run_that_waited_too_long_fails_and_the_next_of_its_session_goes_on(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    old, younger = world.accept(), world.accept()
    world.change_run(old.run_id, created_at=ago(RUN_MAX_AGE + 1))
    world.change_run(younger.run_id, created_at=ago(RUN_MAX_AGE - 60))
    assert deployment.sweep() == {"expired": 1}
    run, task = world.run(old.run_id), world.task(old.task_id)
    assert (run.status, task.status, run.cancel_reason) == (RunStatus.FAILED, TaskStatus.FAILED, CancelReason.TOO_OLD)
    assert run.error is not None
    assert run.error["error_code"] == "deadline_exceeded"
    ((_, (event,)),) = parts.told
    assert isinstance(event, RunFailed)
    assert parts.sent == [younger.task_id]
    assert deployment.sweep() == {}


def test_a_run_that_a_node_works_on_is_marked_once_and_its_node_told(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    task = world.started()
    world.change_run(task.run_id, created_at=ago(RUN_MAX_AGE + 1))
    assert deployment.sweep() == {"expired": 1}
    run = world.run(task.run_id)
    assert (run.finished_at, run.cancel_reason) == (None, CancelReason.TOO_OLD)
    assert world.task(task.id).status is TaskStatus.RUNNING
    assert parts.hints == [(Change.TASKS_CANCELLED, world.key, [task.id])]
    assert deployment.sweep() == {}, "its end is asked for already"


# -- tasks -------------------------------------------------------------------------------------------------------


def test_a_task_that_its_node_does_not_end_is_ended(world: World, deployment: Deployment, parts: Parts) -> None:
    hanging, late = world.started(), world.started(world.session())
    mercy = MERCY.total_seconds()
    world.change_task(hanging.id, started_at=ago(TASK_DEADLINE + mercy + 1))
    world.change_task(late.id, started_at=ago(TASK_DEADLINE + mercy - 30))
    assert deployment.sweep() == {"overdue": 1, "stuck": 1}
    row = world.task(hanging.id)
    assert row.status is TaskStatus.FAILED
    assert row.error is not None
    assert row.error["error_code"] == "deadline_exceeded"
    assert world.run(hanging.run_id).status is RunStatus.FAILED
    assert world.task(late.id).status is TaskStatus.RUNNING
    assert parts.alerts == [late.id]


def test_a_task_that_ended_between_look_and_verdict_keeps_its_end(world: World, deployment: Deployment) -> None:
    task = world.started()
    world.change_task(task.id, status=TaskStatus.COMPLETED)
    assert deployment.lost_hosts().fail_overdue([task.id]) == 0
    assert world.task(task.id).status is TaskStatus.COMPLETED


def test_a_task_that_runs_too_long_is_told_of(world: World, deployment: Deployment, parts: Parts) -> None:
    stuck, busy = world.started(), world.started(world.session())
    world.change_task(stuck.id, started_at=ago(STUCK_AFTER + 1))
    world.change_task(busy.id, started_at=ago(STUCK_AFTER - 60))
    assert deployment.sweep() == {"stuck": 1}
    assert parts.alerts == [stuck.id]
    assert world.task(stuck.id).status is TaskStatus.RUNNING


@pytest.mark.parametrize("busy", [True, False])
def test_a_task_that_waits_too_long_is_told_of_unless_its_agent_works(
    world: World, deployment: Deployment, parts: Parts, busy: bool
) -> None:
    if busy:
        world.started(world.session())
    waiting = world.accept(world.session())
    world.change_task(waiting.task_id, sent_at=ago(STUCK_AFTER + 1))
    parts.lengths[queue(world)] = 1
    assert deployment.sweep() == ({} if busy else {"stuck": 1})
    assert parts.alerts == ([] if busy else [waiting.task_id])


def test_a_task_that_is_held_is_not_stuck(world: World, deployment: Deployment, parts: Parts) -> None:
    world.started()
    held = world.accept()
    world.change_task(held.task_id, sent_at=ago(STUCK_AFTER + 1), created_at=ago(STUCK_AFTER + 1))
    assert deployment.sweep() == {}
    assert utc_now() > world.task(held.task_id).created_at
    assert parts.alerts == []
