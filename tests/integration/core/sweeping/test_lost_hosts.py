"""A workspace is taken from a host that is gone, what that worked on ends, and the rest finds a new host."""

from collections.abc import Callable

import pytest
import redis

from bootstrap import redis_client
from models.statuses import CancelReason, HeldReason, RunStatus, TaskStatus, WorkspaceState
from settings import load_settings
from tests.integration.core.conftest import TTL
from tests.integration.core.sweeping.parts import Deployment, Parts, ago
from tests.integration.core.world import HOST, World, together
from tests.support.proxy import proxy
from workspace.errors import ErrorCode
from workspace.events import Failure, RunCancelled, RunFailed, TaskFailed
from workspace.leases import Leases
from workspace.names import LEASES_SINCE

pytestmark = pytest.mark.stack

Loss = Callable[[Deployment, World], object]

LOSSES: dict[str, Loss] = {
    "released": lambda _, world: world.change_workspace(node_id=None),
    "taken by another": lambda _, world: world.change_workspace(node_id="another", epoch=2),
    "taken again by a node of that name": lambda _, world: world.change_workspace(epoch=2),
    "silent": lambda deployment, world: deployment.lapse(world),
}
every_loss = pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())


# -- hosts -------------------------------------------------------------------------------------------------------


def test_a_workspace_is_taken_from_a_host_whose_lease_has_lapsed(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    other = deployment.world()
    deployment.lapse(world)
    assert deployment.sweep() == {"buried": 1}
    row = world.workspace()
    assert (row.node_id, row.epoch, row.state) == (None, 2, WorkspaceState.SHUTDOWN)
    assert other.workspace().node_id == HOST.node_id
    assert deployment.sweep() == {}
    assert parts.placed == [], "nothing waits there"


def test_no_host_is_judged_until_redis_has_had_its_data_for_as_long_as_a_lease_lives(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    task = world.started()
    deployment.client.flushdb()
    assert deployment.sweep() == {}
    assert deployment.client.exists(LEASES_SINCE)
    assert deployment.sweep() == {}
    assert world.task(task.id).status is TaskStatus.RUNNING
    deployment.client.set(LEASES_SINCE, 0)
    assert deployment.sweep() == {"buried": 1, "lost": 1}


def test_no_host_is_judged_while_redis_is_away_and_the_rest_is_mended(
    world: World, deployment: Deployment, own_redis_url: str
) -> None:
    task, gone = world.started(), deployment.world()
    lost = gone.started()
    gone.change_workspace(epoch=2)
    deployment.lapse(world)
    with proxy(own_redis_url) as way, redis_client(load_settings(), url=way.url) as client:
        way.cut()
        assert deployment.sweep(client) == {"lost": 1}
        assert world.task(task.id).status is TaskStatus.RUNNING
        assert gone.task(lost.id).status is TaskStatus.FAILED
        way.mend()
        assert deployment.sweep(client) == {"buried": 1, "lost": 1}


def test_a_host_that_told_postgres_of_its_life_is_not_judged(world: World, deployment: Deployment) -> None:
    task = world.started()
    deployment.lapse(world)
    deployment.claims(HOST.node_id).extend([world.key])
    assert deployment.sweep() == {}
    assert world.task(task.id).status is TaskStatus.RUNNING
    world.change_workspace(alive_until=ago(1))
    assert deployment.sweep() == {"buried": 1, "lost": 1}


def test_a_host_that_comes_back_between_look_and_verdict_keeps_its_workspace(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, gone = world.started(), deployment.world()
    for one in (world, gone):
        deployment.lapse(one)
    look = Leases.silent

    def slow_look(leases: Leases, keys: list[object]) -> object:
        found = look(leases, keys)
        Leases(deployment.client, ttl=TTL).renew(HOST.node_id, [world.key])
        return found

    monkeypatch.setattr(Leases, "silent", slow_look)
    assert deployment.sweep() == {"buried": 1}
    assert world.workspace().node_id == HOST.node_id
    assert world.task(task.id).status is TaskStatus.RUNNING
    assert gone.workspace().node_id is None


# -- their tasks -------------------------------------------------------------------------------------------------


@every_loss
def test_a_task_of_a_lost_node_fails_and_says_so(
    world: World, deployment: Deployment, parts: Parts, lose: Loss
) -> None:
    task = world.started()
    lose(deployment, world)
    assert deployment.sweep()["lost"] == 1
    row, run = world.task(task.id), world.run(task.run_id)
    assert (row.status, run.status) == (TaskStatus.FAILED, RunStatus.FAILED)
    assert row.finished_at is not None
    assert run.finished_at is not None
    assert row.error == run.error
    assert row.error is not None
    assert (row.error["error_code"], row.error["retryable"]) == ("worker_lost", True)
    ((scope, (failed, ended)),) = parts.told
    assert (scope.key, scope.session_id, scope.run_id, scope.task_id) == (
        world.key,
        world.session_id,
        task.run_id,
        task.id,
    )
    assert isinstance(failed, TaskFailed)
    assert isinstance(ended, RunFailed)
    assert (failed.agent_id, failed.agent_name) == (world.agent_id, "helper")
    assert failed.error == ended.error == Failure.model_validate(row.error)
    assert deployment.sweep().get("lost") is None


@pytest.mark.parametrize("reason", sorted(CancelReason))
def test_a_task_whose_end_was_asked_for_ends_as_that_says(
    world: World, deployment: Deployment, parts: Parts, reason: CancelReason
) -> None:
    task = world.started()
    world.change_run(task.run_id, cancel_requested_at=ago(1), cancel_reason=reason)
    deployment.lapse(world)
    assert deployment.sweep() == {"buried": 1, "lost": 1}
    row, run = world.task(task.id), world.run(task.run_id)
    if reason is CancelReason.TOO_OLD:
        assert (row.status, run.status) == (TaskStatus.FAILED, RunStatus.FAILED)
    else:
        assert (row.status, run.status) == (TaskStatus.CANCELLED, RunStatus.CANCELLED)
    codes = {CancelReason.TOO_OLD: ErrorCode.DEADLINE_EXCEEDED, CancelReason.AGENT_DELETED: ErrorCode.AGENT_DELETED}
    assert run.error is not None
    assert run.error["error_code"] == codes.get(reason, ErrorCode.CANCELLED)
    ((_, (*_, ended)),) = parts.told
    assert isinstance(ended, RunFailed if reason is CancelReason.TOO_OLD else RunCancelled)


def test_the_next_message_of_the_session_goes_on(world: World, deployment: Deployment, parts: Parts) -> None:
    world.started()
    second, third = world.accept(), world.accept()
    world.change_workspace(epoch=2)
    assert deployment.sweep()["lost"] == 1
    assert parts.sent == [second.task_id]
    assert [world.task(one.task_id).status for one in (second, third)] == [TaskStatus.QUEUED, TaskStatus.HELD]


def test_the_next_task_that_waits_for_the_users_cap_goes_on(deployment: Deployment, parts: Parts) -> None:
    deployment = Deployment(deployment.database, deployment.client, parts, cap=1)
    world = deployment.world()
    world.started()
    elsewhere = world.project()
    deployment.client.set(elsewhere.key.lease, HOST.node_id)
    waiting = elsewhere.accept()
    elsewhere.change_task(waiting.task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP, sent_at=None)
    world.change_workspace(epoch=2)
    assert deployment.lost_hosts().fail_lost() == 1
    assert parts.sent == [waiting.task_id]


def test_the_tasks_of_one_workspace_are_ended_where_only_they_are_meant(world: World, deployment: Deployment) -> None:
    other = deployment.world()
    tasks = [one.started() for one in (world, other)]
    for one in (world, other):
        one.change_workspace(epoch=2)
    assert deployment.lost_hosts().fail_lost(world.key) == 1
    assert world.task(tasks[0].id).status is TaskStatus.FAILED
    assert other.task(tasks[1].id).status is TaskStatus.RUNNING


def test_a_task_whose_node_still_hosts_is_left_alone(world: World, deployment: Deployment) -> None:
    stranger = deployment.world()
    lost = stranger.started()
    task = world.started()
    stranger.change_workspace(epoch=2)
    assert deployment.sweep()["lost"] == 1
    assert world.task(task.id).status is TaskStatus.RUNNING
    assert stranger.task(lost.id).status is TaskStatus.FAILED


@pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.RUNNING}))
def test_a_task_that_does_not_run_is_not_lost(world: World, deployment: Deployment, status: TaskStatus) -> None:
    task = world.started()
    world.change_task(task.id, status=status)
    world.change_workspace(epoch=2)
    assert deployment.sweep().get("lost") is None


def test_a_row_that_is_its_nodes_again_between_look_and_verdict_keeps_its_task(
    deployment: Deployment, parts: Parts
) -> None:
    worlds = (deployment.world(), deployment.world())
    for one in worlds:
        one.started()
        one.change_workspace(epoch=2)

    def come_back() -> None:
        for one in worlds:
            one.change_workspace(epoch=1)

    parts.meanwhile = come_back
    assert deployment.sweep()["lost"] == 1, "the first verdict is told while the second row changes"
    assert sorted(one.tasks()[0].status for one in worlds) == [TaskStatus.FAILED, TaskStatus.RUNNING]


def test_a_task_that_its_own_living_node_does_not_work_on_is_failed_once(
    world: World, deployment: Deployment, parts: Parts
) -> None:
    lost_hosts = deployment.lost_hosts()
    task, waiting = world.started(), world.accept()
    assert lost_hosts.fail_one(task.id, "another") is False
    assert lost_hosts.fail_one(waiting.task_id, HOST.node_id) is False
    assert world.task(task.id).status is TaskStatus.RUNNING
    assert [lost_hosts.fail_one(task.id, HOST.node_id) for _ in range(2)] == [True, False]
    assert world.task(task.id).status is TaskStatus.FAILED
    assert parts.sent == [waiting.task_id]
    assert len(parts.told) == 1


def test_two_at_once_bury_and_fail_nothing_twice(deployment: Deployment, parts: Parts) -> None:
    worlds = [deployment.world() for _ in range(5)]
    for world in worlds:
        world.started()
        world.accept()
        deployment.lapse(world)
    buried = together([deployment.lost_hosts().bury for _ in range(4)])
    assert sum(one for one in buried if isinstance(one, int)) == 5, buried
    failed = together([deployment.lost_hosts().fail_lost for _ in range(4)])
    assert sum(one for one in failed if isinstance(one, int)) == 5, failed
    told = [scope.task_id for scope, events in parts.told if isinstance(events[0], TaskFailed)]
    assert sorted(map(str, told)) == sorted(str(world.tasks()[0].id) for world in worlds)
    assert sorted(map(str, parts.sent)) == sorted(str(world.tasks()[1].id) for world in worlds)


# -- what waits for a host ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lapsed", [True, False])
def test_a_host_is_asked_for_where_work_waits_for_one(
    world: World, deployment: Deployment, parts: Parts, lapsed: bool
) -> None:
    idle, sibling = deployment.world(), world.project()
    deployment.client.set(sibling.key.lease, HOST.node_id)
    world.accept()
    sibling.accept()
    for one in (world, idle):
        LOSSES["silent" if lapsed else "released"](deployment, one)
    assert deployment.sweep() == ({"buried": 2} if lapsed else {}) | {"placed": 1}
    assert parts.placed == [world.key]


def test_no_host_is_asked_for_what_is_held_or_done(deployment: Deployment, parts: Parts) -> None:
    deployment = Deployment(deployment.database, deployment.client, parts, cap=0)
    world = deployment.world()
    world.change_workspace(node_id=None)
    for status in set(TaskStatus) - {TaskStatus.QUEUED, TaskStatus.RUNNING}:
        world.change_task(world.accept(world.session()).task_id, status=status, held_reason=HeldReason.USER_CAP)
    deployment.sweep()
    assert parts.placed == []


def test_a_lost_lease_alone_does_not_make_redis_young(old_redis: redis.Redis, deployment: Deployment) -> None:
    """What is asked of a Redis that has its data changes nothing of since when it has it."""
    before = old_redis.get(LEASES_SINCE)
    deployment.lapse(deployment.world())
    deployment.sweep()
    assert old_redis.get(LEASES_SINCE) == before
