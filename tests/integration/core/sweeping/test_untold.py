"""The end of each run is told, once."""

import pytest

from models import utc_now
from models.statuses import RunStatus, TaskStatus
from tests.integration.core.sweeping.parts import USAGE, Deployment, Parts, ago
from tests.integration.core.world import World
from workspace.errors import ErrorCode
from workspace.events import Failure, RunCancelled, RunCompleted, RunFailed

pytestmark = pytest.mark.stack


def test_a_completed_run_is_told_once_with_its_reply(world: World, deployment: Deployment, parts: Parts) -> None:
    task = world.started()
    settled = world.ledger().complete(task, "done", USAGE)
    assert settled is not None
    world.change_run(task.run_id, finished_at=ago(11))
    assert deployment.sweep() == {"announced": 1}
    ((scope, (event,)),) = parts.told
    assert (scope.key, scope.session_id, scope.run_id) == (world.key, world.session_id, task.run_id)
    assert isinstance(event, RunCompleted)
    assert (event.message_id, event.usage, event.mode) == (settled.message_id, USAGE, "direct")
    assert world.run(task.run_id).announced_at is not None
    assert deployment.sweep() == {}
    assert len(parts.told) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(RunStatus.FAILED, RunFailed), (RunStatus.CANCELLED, RunCancelled)],
    ids=["failed", "cancelled"],
)
def test_a_run_that_ended_otherwise_is_told_once_with_its_reason(
    world: World, deployment: Deployment, parts: Parts, status: RunStatus, kind: type[RunFailed | RunCancelled]
) -> None:
    failure = Failure(error_code=ErrorCode.DEADLINE_EXCEEDED, detail="too long", retryable=True)
    task = world.started()
    world.ledger().fail(task, failure, USAGE)
    world.change_run(task.run_id, finished_at=ago(11), status=status)
    assert deployment.sweep() == {"announced": 1}
    ((_, (event,)),) = parts.told
    assert isinstance(event, kind)
    assert event.error == failure
    assert deployment.sweep() == {}


def test_a_run_that_failed_without_a_reason_is_told_all_the_same(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    accepted = world.accept()
    world.change_task(accepted.task_id, status=TaskStatus.FAILED)
    world.change_run(accepted.run_id, finished_at=ago(11), status=RunStatus.FAILED)
    assert deployment.sweep() == {"announced": 1}
    ((_, (event,)),) = parts.told
    assert isinstance(event, RunFailed)
    assert event.error.error_code is ErrorCode.INTERNAL_ERROR


def test_a_run_that_ended_just_now_is_left_to_its_node(world: World, deployment: Deployment, parts: Parts) -> None:
    task = world.started()
    world.ledger().complete(task, "done", USAGE)
    world.change_run(task.run_id, finished_at=ago(8))
    assert deployment.sweep() == {}
    world.change_run(task.run_id, finished_at=ago(11), announced_at=utc_now())
    assert deployment.sweep() == {}


def test_what_could_not_be_told_is_told_later(world: World, deployment: Deployment, parts: Parts) -> None:
    task = world.started()
    world.ledger().complete(task, "done", USAGE)
    world.change_run(task.run_id, finished_at=ago(11))
    parts.redis_answers = False
    assert deployment.sweep() == {}
    assert world.run(task.run_id).announced_at is None
    parts.redis_answers = True
    assert deployment.sweep() == {"announced": 1}
