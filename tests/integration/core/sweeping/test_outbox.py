"""What may start is on its queue, as often as it has to be."""

from dataclasses import replace

import pytest

from models import utc_now
from models.statuses import HeldReason, TaskStatus
from tests.integration.core.sweeping.parts import USAGE, Deployment, Parts, ago, behind_nothing, queue, queued
from tests.integration.core.world import HOST, World, together
from workspace.intake import Accepted

pytestmark = pytest.mark.stack


# -- sending -----------------------------------------------------------------------------------------------------


def test_a_row_that_was_never_sent_is_sent_at_once(world: World, deployment: Deployment, parts: Parts) -> None:
    tasks = [queued(world, seconds=None, count=0).task_id for _ in range(3)]
    parts.lengths[queue(world)] = 100
    assert deployment.sweep() == {"sent": 3}
    assert parts.sent == tasks
    assert set(parts.queues) == {(world.key, "helper")}
    for task_id in tasks:
        row = world.task(task_id)
        assert row.sent_at is not None
        assert (row.status, row.send_count) == (TaskStatus.QUEUED, 1)
    assert deployment.sweep() == {}


def test_what_the_broker_did_not_take_is_sent_again(world: World, deployment: Deployment, parts: Parts) -> None:
    accepted = queued(world, seconds=None, count=0)
    parts.broker_answers = False
    assert deployment.sweep() == {}
    assert (world.task(accepted.task_id).sent_at, world.task(accepted.task_id).send_count) == (None, 0)
    parts.broker_answers = True
    assert deployment.sweep() == {"sent": 1}


@pytest.mark.parametrize(
    ("count", "seconds", "due"),
    [
        (1, 4, False),
        (1, 5.1, True),
        (2, 9, False),
        (2, 10.1, True),
        (3, 19, False),
        (3, 20.1, True),
        (4, 58, False),
        (4, 60.1, True),
        (99, 58, False),
        (99, 60.1, True),
    ],
)
def test_a_lost_message_is_sent_again_after_a_longer_time_each_time(
    world: World, deployment: Deployment, parts: Parts, count: int, seconds: float, due: bool
) -> None:
    accepted = queued(world, seconds=seconds, count=count)
    assert deployment.sweep() == ({"sent": 1} if due else {})
    assert parts.sent == ([accepted.task_id] if due else [])
    assert world.task(accepted.task_id).send_count == count + due
    assert deployment.sweep() == {}


@pytest.mark.parametrize("on_queue", [0, 1, 2, 3, 4, 50])
def test_as_many_are_sent_again_as_the_queue_lacks_the_oldest_first(
    world: World, deployment: Deployment, parts: Parts, on_queue: int
) -> None:
    tasks = [queued(world, seconds=100, count=1).task_id for _ in range(4)]
    parts.lengths[queue(world)] = on_queue
    lacking = max(4 - on_queue, 0)
    assert deployment.sweep() == ({"sent": lacking} if lacking else {})
    assert parts.sent == tasks[:lacking]


def test_rows_that_are_not_due_count_as_messages_that_should_be_there(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    old = queued(world, seconds=100, count=1)
    for _ in range(2):
        queued(world, seconds=1, count=1)
    parts.lengths[queue(world)] = 3
    assert deployment.sweep() == {}
    parts.lengths[queue(world)] = 2
    assert deployment.sweep() == {"sent": 1}
    assert parts.sent == [old.task_id]


def test_messages_that_a_node_has_in_hand_are_not_missing(world: World, deployment: Deployment, parts: Parts) -> None:
    tasks = [queued(world, seconds=100, count=1).task_id for _ in range(4)]
    parts.lengths[queue(world)] = 1
    parts.hand = {queue(world): 2, queue(world, "another"): 5}
    assert deployment.sweep() == {"sent": 1}
    assert parts.sent == tasks[:1]


def test_each_queue_is_judged_by_its_own_length(world: World, deployment: Deployment, parts: Parts) -> None:
    world.agent("second")
    stranger = deployment.world()
    second = world.accept(world.session(), agent="second")
    world.change_task(second.task_id, sent_at=ago(100))
    mine, theirs = queued(world, seconds=100, count=1), queued(stranger, seconds=100, count=1)
    parts.lengths = {queue(world, "second"): 1, queue(stranger): 1}
    assert deployment.sweep() == {"sent": 1}
    assert parts.sent == [mine.task_id]
    assert theirs.task_id not in parts.sent


@pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.QUEUED}))
def test_only_queued_rows_are_sent(world: World, deployment: Deployment, parts: Parts, status: TaskStatus) -> None:
    accepted = queued(world, seconds=None, count=0)
    world.change_task(accepted.task_id, status=status, node_id=HOST.node_id, epoch=HOST.epoch)
    deployment.sweep()
    assert parts.sent == []


def test_a_task_that_was_started_meanwhile_keeps_its_row(world: World, deployment: Deployment, parts: Parts) -> None:
    accepted = queued(world, seconds=100, count=1)
    parts.meanwhile = lambda: world.start(accepted)
    deployment.sweep()
    assert world.task(accepted.task_id).send_count == 1


# -- what waits --------------------------------------------------------------------------------------------------


def test_what_a_session_holds_though_nothing_is_at_work_is_released(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    second, third = behind_nothing(world), world.accept()
    assert deployment.sweep() == {"released": 1}
    assert parts.sent == [second.task_id]
    assert [world.task(one.task_id).status for one in (second, third)] == [TaskStatus.QUEUED, TaskStatus.HELD]
    assert deployment.sweep() == {}


@pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING])
def test_what_is_held_behind_work_stays_held(world: World, deployment: Deployment, status: TaskStatus) -> None:
    first, second = world.started(), world.accept()
    world.change_task(first.id, status=status, sent_at=utc_now())
    assert deployment.sweep() == {}
    assert world.task(second.task_id).status is TaskStatus.HELD


def over_the_cap(world: World) -> Accepted:
    """A task that waits for its user's other work."""
    accepted = world.accept(world.session())
    world.change_task(accepted.task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP, sent_at=None)
    return accepted


def test_what_waits_for_its_users_other_work_is_sent_when_there_is_room(deployment: Deployment, parts: Parts) -> None:
    deployment = replace(deployment, cap=2)
    world, stranger = deployment.world(), deployment.world()
    busy = world.started(world.session())
    waiting = [over_the_cap(world) for _ in range(3)]
    theirs = over_the_cap(stranger)
    assert deployment.sweep() == {"uncapped": 2}
    assert sorted(parts.sent) == sorted([waiting[0].task_id, theirs.task_id])
    assert [world.task(one.task_id).status for one in waiting] == [TaskStatus.QUEUED, TaskStatus.HELD, TaskStatus.HELD]
    world.start(waiting[0])
    assert deployment.sweep() == {}, "the cap is reached"
    world.ledger().complete(busy, "done", USAGE)
    assert deployment.sweep() == {"uncapped": 1}


def test_nothing_of_a_session_overtakes_what_waits_for_the_cap(deployment: Deployment, parts: Parts) -> None:
    deployment = replace(deployment, cap=1)
    world = deployment.world()
    world.started(world.session())
    first = over_the_cap(world)
    second = world.accept(first.session_id)
    assert world.task(second.task_id).held_reason is HeldReason.SESSION
    assert deployment.sweep() == {}
    assert world.task(second.task_id).status is TaskStatus.HELD


def test_two_releases_at_once_send_nothing_twice(world: World, deployment: Deployment, parts: Parts) -> None:
    held, capped = behind_nothing(world), over_the_cap(world)
    steps = [deployment.outbox().release_held, deployment.outbox().release_capped] * 5
    results = together(steps)
    assert not any(isinstance(result, Exception) for result in results), results
    assert sorted(parts.sent) == sorted([held.task_id, capped.task_id])
    assert {world.task(one.task_id).send_count for one in (held, capped)} == {1, 2}
