"""What no live process would mend is mended, once, and nothing else is touched."""

import threading

import pytest

from models.statuses import HeldReason, TaskStatus
from tests.integration.core.sweeping.parts import (
    RUN_MAX_AGE,
    STUCK_AFTER,
    TASK_DEADLINE,
    USAGE,
    Deployment,
    Parts,
    ago,
    behind_nothing,
    mended,
    queue,
    queued,
)
from tests.integration.core.world import World, together
from workspace.events import RunFailed, TaskFailed
from workspace.sweeping.sweeper import Sweeper

pytestmark = pytest.mark.stack

STEPS = ("expired", "overdue", "buried", "lost", "released", "uncapped", "placed", "sent", "announced", "stuck")


def test_where_nothing_is_wrong_nothing_is_done(world: World, deployment: Deployment, parts: Parts) -> None:
    world.accept()
    world.accept()
    world.started(world.session())
    ended = world.started(world.session())
    world.ledger().complete(ended, "done", USAGE)
    before = world.rows()
    assert deployment.sweep() == {}
    assert world.rows() == before
    assert (parts.sent, parts.placed, parts.told, parts.hints, parts.alerts) == ([], [], [], [], [])


def troubles(deployment: Deployment) -> dict[str, World]:
    """One thing for each step to mend."""
    worlds = {step: deployment.world() for step in STEPS}
    old = worlds["expired"].accept()
    worlds["expired"].change_run(old.run_id, created_at=ago(RUN_MAX_AGE + 1))
    hanging = worlds["overdue"].started()
    worlds["overdue"].change_task(hanging.id, started_at=ago(TASK_DEADLINE + 100))
    deployment.lapse(worlds["buried"])
    worlds["lost"].started()
    worlds["lost"].change_workspace(epoch=2)
    behind_nothing(worlds["released"])
    capped = worlds["uncapped"].accept()
    worlds["uncapped"].change_task(
        capped.task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP, sent_at=None, send_count=0
    )
    worlds["placed"].accept()
    worlds["placed"].change_workspace(node_id=None)
    queued(worlds["sent"], seconds=None, count=0)
    ended = worlds["announced"].started()
    worlds["announced"].ledger().complete(ended, "done", USAGE)
    worlds["announced"].change_run(ended.run_id, finished_at=ago(11))
    queued(worlds["stuck"], seconds=STUCK_AFTER + 1, count=1)
    deployment.parts.lengths[queue(worlds["stuck"])] = 1
    return worlds


def test_one_sweep_mends_all(deployment: Deployment) -> None:
    troubles(deployment)
    assert deployment.sweep() == dict.fromkeys(STEPS, 1)
    assert deployment.sweep() == {"placed": 1, "stuck": 1}, "a host is asked for until there is one, and help, too"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_does_not_stop_the_others(deployment: Deployment, step: str) -> None:
    troubles(deployment)

    def fail() -> int:
        raise RuntimeError("a step failed")

    one_fails = Sweeper(deployment.database, {**deployment.steps(), step: fail})
    others = dict.fromkeys(set(STEPS) - {step}, 1)
    if step == "overdue":
        others["stuck"] = 2  # what is not ended still runs
    assert mended(one_fails.sweep()) == others
    assert deployment.sweep()[step] == 1, "the next sweep makes up for it"


def both_at_once(deployment: Deployment) -> None:
    """Sweep twice at once; each waits, before it tells or sends, for the other to come as far."""
    gate = threading.Barrier(2)

    def meet() -> None:
        try:
            gate.wait(0.05)
        except threading.BrokenBarrierError:
            gate.reset()

    deployment.parts.meanwhile = meet
    results = together([deployment.sweep for _ in range(2)])
    assert not any(isinstance(result, Exception) for result in results), results


def test_two_sweeps_at_once_fail_and_release_nothing_twice(deployment: Deployment, parts: Parts) -> None:
    worlds = [deployment.world() for _ in range(5)]
    for world in worlds:
        world.started()
        world.accept()
        world.change_workspace(epoch=2)
        behind_nothing(deployment.world())
    both_at_once(deployment)
    failed = [scope.task_id for scope, events in parts.told if isinstance(events[0], TaskFailed)]
    assert sorted(map(str, failed)) == sorted(str(world.tasks()[0].id) for world in worlds)
    assert len(parts.sent) == len(set(parts.sent)) == 10
    assert all(world.tasks()[1].send_count == 1 for world in worlds)


def test_two_sweeps_at_once_send_nothing_twice(world: World, deployment: Deployment, parts: Parts) -> None:
    accepted = queued(world, seconds=None, count=0)
    both_at_once(deployment)
    assert parts.sent == [accepted.task_id]


def test_two_sweeps_at_once_tell_nothing_twice(world: World, deployment: Deployment, parts: Parts) -> None:
    task = world.started()
    world.ledger().complete(task, "done", USAGE)
    world.change_run(task.run_id, finished_at=ago(11))
    both_at_once(deployment)
    assert len(parts.told) == 1


def test_the_end_of_a_lost_task_is_told_once(world: World, deployment: Deployment, parts: Parts) -> None:
    task = world.started()
    world.change_workspace(epoch=2)
    assert deployment.sweep() == {"lost": 1}
    world.change_run(task.run_id, finished_at=ago(11))
    deployment.sweep()
    told = [event for _, events in parts.told for event in events if isinstance(event, RunFailed)]
    assert len(told) == 1


def test_the_end_of_a_lost_task_that_could_not_be_told_is_told_later(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    task = world.started()
    world.change_workspace(epoch=2)
    parts.redis_answers = False
    assert deployment.sweep() == {"lost": 1}
    world.change_run(task.run_id, finished_at=ago(11))
    parts.redis_answers = True
    assert deployment.sweep() == {"announced": 1}
