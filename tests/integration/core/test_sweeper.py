"""What no live process would mend is mended, once, and nothing else is touched."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from models import utc_now
from models.statuses import HeldReason, RunStatus, TaskStatus
from models.tenancy import Database
from tests.integration.core.world import HOST, World, make_world, together
from workspace.errors import ErrorCode
from workspace.events import EventScope, Failure, Payload, RunCancelled, RunCompleted, RunFailed, TaskFailed, Usage
from workspace.intake import Accepted
from workspace.names import WorkspaceKey
from workspace.sweeper import Sweeper

pytestmark = pytest.mark.stack

USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
STEPS = ("released", "lost", "placed", "sent", "announced")
METHODS = ("release_held", "fail_lost", "place", "send", "announce")


class Parts:
    """Stands for the bus, the publisher and the broker, and writes down what each is told."""

    def __init__(self) -> None:
        self.sent: list[UUID] = []
        self.queues: list[tuple[WorkspaceKey, str]] = []
        self.placed: list[WorkspaceKey] = []
        self.told: list[tuple[EventScope, tuple[Payload, ...]]] = []
        self.lengths: dict[str, int] = {}
        self.broker_answers = True
        self.redis_answers = True
        self.meanwhile: Callable[[], object] = lambda: None

    # The bus.

    def send_task_to_agent(self, key: WorkspaceKey, agent_name: str, task_id: UUID) -> bool:
        self.meanwhile()
        if self.broker_answers:
            self.sent.append(task_id)
            self.queues.append((key, agent_name))
        return self.broker_answers

    def request_placement(self, key: WorkspaceKey) -> bool:
        self.placed.append(key)
        return self.broker_answers

    # The publisher.

    def publish(self, scope: EventScope, *payloads: Payload) -> object:
        self.meanwhile()
        if self.redis_answers:
            self.told.append((scope, payloads))
        return object() if self.redis_answers else None

    # The broker.

    def queue_length(self, name: str) -> int:
        return self.lengths.get(name, 0)


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def sweeper(database: Database, parts: Parts) -> Sweeper:
    stand_in: Any = parts
    return Sweeper(database=database, bus=stand_in, publisher=stand_in, queue_length=parts.queue_length)


def ago(seconds: float) -> Any:
    return utc_now() - timedelta(seconds=seconds)


def done(sweeper: Sweeper, **options: bool) -> dict[str, int]:
    return {name: count for name, count in sweeper.sweep(**options).items() if count}


def queue(world: World, agent: str = "helper") -> str:
    return world.key.agent_queue(agent)


def test_where_nothing_is_wrong_nothing_is_done(world: World, sweeper: Sweeper, parts: Parts) -> None:
    world.accept()
    world.accept()
    world.started(world.session())
    ended = world.started(world.session())
    world.ledger().complete(ended, "done", USAGE)
    before = world.rows()
    assert done(sweeper) == {}
    assert world.rows() == before
    assert (parts.sent, parts.placed, parts.told) == ([], [], [])


# -- sending -----------------------------------------------------------------------------------------------------


def queued(world: World, *, seconds: float | None, count: int) -> Accepted:
    """A queued task, last sent so long ago."""
    accepted = world.accept(world.session())
    world.change_task(accepted.task_id, sent_at=None if seconds is None else ago(seconds), send_count=count)
    return accepted


def test_a_row_that_was_never_sent_is_sent_at_once(world: World, sweeper: Sweeper, parts: Parts) -> None:
    tasks = [queued(world, seconds=None, count=0).task_id for _ in range(3)]
    parts.lengths[queue(world)] = 100
    assert done(sweeper) == {"sent": 3}
    assert parts.sent == tasks
    assert set(parts.queues) == {(world.key, "helper")}
    for task_id in tasks:
        row = world.task(task_id)
        assert row.sent_at is not None
        assert (row.status, row.send_count) == (TaskStatus.QUEUED, 1)
    assert done(sweeper) == {}


def test_what_the_broker_did_not_take_is_sent_again(world: World, sweeper: Sweeper, parts: Parts) -> None:
    accepted = queued(world, seconds=None, count=0)
    parts.broker_answers = False
    assert done(sweeper) == {}
    assert (world.task(accepted.task_id).sent_at, world.task(accepted.task_id).send_count) == (None, 0)
    parts.broker_answers = True
    assert done(sweeper) == {"sent": 1}


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
    world: World, sweeper: Sweeper, parts: Parts, count: int, seconds: float, due: bool
) -> None:
    accepted = queued(world, seconds=seconds, count=count)
    assert done(sweeper) == ({"sent": 1} if due else {})
    assert parts.sent == ([accepted.task_id] if due else [])
    assert world.task(accepted.task_id).send_count == count + due
    assert done(sweeper) == {}


@pytest.mark.parametrize("on_queue", [0, 1, 2, 3, 4, 50])
def test_as_many_are_sent_again_as_the_queue_lacks_the_oldest_first(
    world: World, sweeper: Sweeper, parts: Parts, on_queue: int
) -> None:
    tasks = [queued(world, seconds=100, count=1).task_id for _ in range(4)]
    parts.lengths[queue(world)] = on_queue
    lacking = max(4 - on_queue, 0)
    assert done(sweeper) == ({"sent": lacking} if lacking else {})
    assert parts.sent == tasks[:lacking]


def test_rows_that_are_not_due_count_as_messages_that_should_be_there(
    world: World, sweeper: Sweeper, parts: Parts
) -> None:
    old = queued(world, seconds=100, count=1)
    for _ in range(2):
        queued(world, seconds=1, count=1)
    parts.lengths[queue(world)] = 3
    assert done(sweeper) == {}
    parts.lengths[queue(world)] = 2
    assert done(sweeper) == {"sent": 1}
    assert parts.sent == [old.task_id]


def test_each_queue_is_judged_by_its_own_length(world: World, sweeper: Sweeper, parts: Parts) -> None:
    world.agent("second")
    stranger = make_world(world.database)
    second = world.accept(world.session(), agent="second")
    world.change_task(second.task_id, sent_at=ago(100))
    mine, theirs = queued(world, seconds=100, count=1), queued(stranger, seconds=100, count=1)
    parts.lengths = {queue(world, "second"): 1, queue(stranger): 1}
    assert done(sweeper) == {"sent": 1}
    assert parts.sent == [mine.task_id]
    assert theirs.task_id not in parts.sent


@pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.QUEUED}))
def test_only_queued_rows_are_sent(world: World, sweeper: Sweeper, parts: Parts, status: TaskStatus) -> None:
    accepted = queued(world, seconds=None, count=0)
    world.change_task(accepted.task_id, status=status, node_id=HOST.node_id, epoch=HOST.epoch)
    done(sweeper)
    assert parts.sent == []


def test_a_task_that_was_started_meanwhile_keeps_its_row(world: World, sweeper: Sweeper, parts: Parts) -> None:
    accepted = queued(world, seconds=100, count=1)
    parts.meanwhile = lambda: world.start(accepted)
    sweeper.sweep()
    assert world.task(accepted.task_id).send_count == 1


# -- lost nodes --------------------------------------------------------------------------------------------------

LOSSES: dict[str, dict[str, Any]] = {
    "released": {"node_id": None, "alive_until": None},
    "taken by another": {"node_id": "another", "epoch": 2},
    "taken again by a node of that name": {"epoch": 2},
    "silent": {"alive_until": utc_now() - timedelta(seconds=1)},
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


@every_loss
def test_a_task_of_a_lost_node_fails_and_says_so(
    world: World, sweeper: Sweeper, parts: Parts, loss: dict[str, Any]
) -> None:
    task = world.started()
    world.change_workspace(**loss)
    assert done(sweeper)["lost"] == 1
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
    assert done(sweeper).get("lost") is None


def test_the_next_message_of_the_session_goes_on(world: World, sweeper: Sweeper, parts: Parts) -> None:
    world.started()
    second, third = world.accept(), world.accept()
    world.change_workspace(epoch=2)
    assert done(sweeper)["lost"] == 1
    assert parts.sent == [second.task_id]
    assert [world.task(one.task_id).status for one in (second, third)] == [TaskStatus.QUEUED, TaskStatus.HELD]


@every_loss
def test_no_node_is_judged_when_that_is_not_wanted(
    world: World, sweeper: Sweeper, parts: Parts, loss: dict[str, Any]
) -> None:
    task = world.started()
    world.change_workspace(**loss)
    assert "lost" not in sweeper.sweep(judge_nodes=False)
    assert world.task(task.id).status is TaskStatus.RUNNING
    assert parts.told == []


def test_a_task_whose_node_still_hosts_is_left_alone(world: World, sweeper: Sweeper, parts: Parts) -> None:
    stranger = make_world(world.database)
    lost = stranger.started()
    task = world.started()
    stranger.change_workspace(epoch=2)
    assert done(sweeper)["lost"] == 1
    assert world.task(task.id).status is TaskStatus.RUNNING
    assert stranger.task(lost.id).status is TaskStatus.FAILED


@pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.RUNNING}))
def test_a_task_that_does_not_run_is_not_lost(world: World, sweeper: Sweeper, status: TaskStatus) -> None:
    task = world.started()
    world.change_task(task.id, status=status)
    world.change_workspace(epoch=2)
    assert done(sweeper).get("lost") is None


def test_a_node_that_comes_back_between_look_and_verdict_keeps_its_task(
    world: World, sweeper: Sweeper, parts: Parts
) -> None:
    worlds = (world, make_world(world.database))
    for one in worlds:
        one.started()
        one.change_workspace(alive_until=ago(1))

    def come_back() -> None:
        for one in worlds:
            one.change_workspace(alive_until=utc_now() + timedelta(days=1))

    parts.meanwhile = come_back
    assert done(sweeper)["lost"] == 1, "the first verdict is told while the second node comes back"
    assert sorted(one.tasks()[0].status for one in worlds) == [TaskStatus.FAILED, TaskStatus.RUNNING]


def test_a_task_that_its_own_living_node_does_not_work_on_is_failed_once(
    world: World, sweeper: Sweeper, parts: Parts
) -> None:
    task, waiting = world.started(), world.accept()
    assert sweeper.fail_one(task.id, "another") is False
    assert sweeper.fail_one(waiting.task_id, HOST.node_id) is False
    assert world.task(task.id).status is TaskStatus.RUNNING
    assert [sweeper.fail_one(task.id, HOST.node_id) for _ in range(2)] == [True, False]
    assert world.task(task.id).status is TaskStatus.FAILED
    assert parts.sent == [waiting.task_id]
    assert len(parts.told) == 1


# -- what waits --------------------------------------------------------------------------------------------------


def test_what_a_session_holds_though_nothing_is_at_work_is_released(
    world: World, sweeper: Sweeper, parts: Parts
) -> None:
    first, second, third = world.accept(), world.accept(), world.accept()
    world.change_task(first.task_id, status=TaskStatus.CANCELLED)
    assert done(sweeper) == {"released": 1}
    assert parts.sent == [second.task_id]
    assert [world.task(one.task_id).status for one in (second, third)] == [TaskStatus.QUEUED, TaskStatus.HELD]
    assert done(sweeper) == {}


@pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING])
def test_what_is_held_behind_work_stays_held(world: World, sweeper: Sweeper, status: TaskStatus) -> None:
    first, second = world.started(), world.accept()
    world.change_task(first.id, status=status, sent_at=utc_now())
    assert done(sweeper) == {}
    assert world.task(second.task_id).status is TaskStatus.HELD


def test_what_the_users_cap_holds_stays_held(world: World, sweeper: Sweeper) -> None:
    accepted = world.accept()
    world.change_task(accepted.task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP)
    assert done(sweeper) == {}


@pytest.mark.parametrize("lapsed", [True, False])
def test_a_host_is_asked_for_where_work_waits_for_one(
    world: World, sweeper: Sweeper, parts: Parts, lapsed: bool
) -> None:
    idle, sibling = make_world(world.database), world.project()
    world.accept()
    sibling.accept()
    for one in (world, idle):
        one.change_workspace(**(LOSSES["silent"] if lapsed else LOSSES["released"]))
    assert done(sweeper) == {"placed": 1}
    assert parts.placed == [world.key]


def test_no_host_is_asked_for_what_is_held_or_done(world: World, sweeper: Sweeper, parts: Parts) -> None:
    world.change_workspace(**LOSSES["released"])
    for status in set(TaskStatus) - {TaskStatus.QUEUED, TaskStatus.RUNNING}:
        world.change_task(world.accept(world.session()).task_id, status=status, held_reason=HeldReason.USER_CAP)
    sweeper.sweep()
    assert parts.placed == []


# -- what was not told -------------------------------------------------------------------------------------------


def test_a_completed_run_is_told_once_with_its_reply(world: World, sweeper: Sweeper, parts: Parts) -> None:
    task = world.started()
    settled = world.ledger().complete(task, "done", USAGE)
    assert settled is not None
    world.change_run(task.run_id, finished_at=ago(11))
    assert done(sweeper) == {"announced": 1}
    ((scope, (event,)),) = parts.told
    assert (scope.key, scope.session_id, scope.run_id) == (world.key, world.session_id, task.run_id)
    assert isinstance(event, RunCompleted)
    assert (event.message_id, event.usage, event.mode) == (settled.message_id, USAGE, "direct")
    assert world.run(task.run_id).announced_at is not None
    assert done(sweeper) == {}
    assert len(parts.told) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(RunStatus.FAILED, RunFailed), (RunStatus.CANCELLED, RunCancelled)],
    ids=["failed", "cancelled"],
)
def test_a_run_that_ended_otherwise_is_told_once_with_its_reason(
    world: World, sweeper: Sweeper, parts: Parts, status: RunStatus, kind: type[RunFailed | RunCancelled]
) -> None:
    failure = Failure(error_code=ErrorCode.DEADLINE_EXCEEDED, detail="too long", retryable=True)
    task = world.started()
    world.ledger().fail(task, failure, USAGE)
    world.change_run(task.run_id, finished_at=ago(11), status=status)
    assert done(sweeper) == {"announced": 1}
    ((_, (event,)),) = parts.told
    assert isinstance(event, kind)
    assert event.error == failure
    assert done(sweeper) == {}


def test_a_run_that_failed_without_a_reason_is_told_all_the_same(world: World, sweeper: Sweeper, parts: Parts) -> None:
    accepted = world.accept()
    world.change_task(accepted.task_id, status=TaskStatus.FAILED)
    world.change_run(accepted.run_id, finished_at=ago(11), status=RunStatus.FAILED)
    assert done(sweeper) == {"announced": 1}
    ((_, (event,)),) = parts.told
    assert isinstance(event, RunFailed)
    assert event.error.error_code is ErrorCode.INTERNAL_ERROR


def test_a_run_that_ended_just_now_is_left_to_its_node(world: World, sweeper: Sweeper, parts: Parts) -> None:
    task = world.started()
    world.ledger().complete(task, "done", USAGE)
    world.change_run(task.run_id, finished_at=ago(8))
    assert done(sweeper) == {}
    world.change_run(task.run_id, finished_at=ago(11), announced_at=utc_now())
    assert done(sweeper) == {}


def test_what_could_not_be_told_is_told_later(world: World, sweeper: Sweeper, parts: Parts) -> None:
    task = world.started()
    world.ledger().complete(task, "done", USAGE)
    world.change_run(task.run_id, finished_at=ago(11))
    parts.redis_answers = False
    assert done(sweeper) == {}
    assert world.run(task.run_id).announced_at is None
    parts.redis_answers = True
    assert done(sweeper) == {"announced": 1}


def test_the_end_of_a_lost_task_is_told_once(world: World, sweeper: Sweeper, parts: Parts) -> None:
    task = world.started()
    world.change_workspace(epoch=2)
    assert done(sweeper) == {"lost": 1}
    world.change_run(task.run_id, finished_at=ago(11))
    done(sweeper)
    told = [event for _, events in parts.told for event in events if isinstance(event, RunFailed)]
    assert len(told) == 1


def test_the_end_of_a_lost_task_that_could_not_be_told_is_told_later(
    world: World, sweeper: Sweeper, parts: Parts
) -> None:
    task = world.started()
    world.change_workspace(epoch=2)
    parts.redis_answers = False
    assert done(sweeper) == {"lost": 1}
    world.change_run(task.run_id, finished_at=ago(11))
    parts.redis_answers = True
    assert done(sweeper) == {"announced": 1}


# -- together ----------------------------------------------------------------------------------------------------


def troubles(database: Database) -> dict[str, World]:
    """One thing for each step to mend."""
    worlds = {step: make_world(database) for step in STEPS}
    worlds["released"].accept()
    worlds["released"].accept()
    worlds["released"].change_task(worlds["released"].tasks()[0].id, status=TaskStatus.CANCELLED)
    worlds["lost"].started()
    worlds["lost"].change_workspace(epoch=2)
    worlds["placed"].accept()
    worlds["placed"].change_workspace(**LOSSES["released"])
    queued(worlds["sent"], seconds=None, count=0)
    ended = worlds["announced"].started()
    worlds["announced"].ledger().complete(ended, "done", USAGE)
    worlds["announced"].change_run(ended.run_id, finished_at=ago(11))
    return worlds


def test_one_sweep_mends_all(database: Database, sweeper: Sweeper) -> None:
    troubles(database)
    assert done(sweeper) == dict.fromkeys(STEPS, 1)
    assert done(sweeper) == {"placed": 1}, "a host is asked for until there is one"


@pytest.mark.parametrize(("step", "method"), list(zip(STEPS, METHODS, strict=True)), ids=STEPS)
def test_a_step_that_fails_does_not_stop_the_others(
    database: Database, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, step: str, method: str
) -> None:
    troubles(database)

    def fail() -> int:
        raise RuntimeError("a step failed")

    with monkeypatch.context() as patch:
        patch.setattr(sweeper, method, fail)
        assert done(sweeper) == dict.fromkeys(set(STEPS) - {step}, 1)
    assert done(sweeper)[step] == 1, "the next sweep makes up for it"


def both_at_once(database: Database, parts: Parts) -> None:
    """Sweep twice at once; each waits, before it tells or sends, for the other to come as far."""
    gate = threading.Barrier(2)

    def meet() -> None:
        try:
            gate.wait(0.05)
        except threading.BrokenBarrierError:
            gate.reset()

    parts.meanwhile = meet
    stand_in: Any = parts
    sweepers = [
        Sweeper(database=database, bus=stand_in, publisher=stand_in, queue_length=parts.queue_length) for _ in range(2)
    ]
    results = together([one.sweep for one in sweepers])
    assert not any(isinstance(result, Exception) for result in results), results


def test_two_sweeps_at_once_fail_and_release_nothing_twice(database: Database, parts: Parts) -> None:
    worlds = [make_world(database) for _ in range(5)]
    for world in worlds:
        world.started()
        world.accept()
        world.change_workspace(epoch=2)
        held = make_world(database)
        held.accept()
        held.accept()
        held.change_task(held.tasks()[0].id, status=TaskStatus.CANCELLED)
    both_at_once(database, parts)
    failed = [scope.task_id for scope, events in parts.told if isinstance(events[0], TaskFailed)]
    assert sorted(map(str, failed)) == sorted(str(world.tasks()[0].id) for world in worlds)
    assert len(parts.sent) == len(set(parts.sent)) == 10
    assert all(world.tasks()[1].send_count == 1 for world in worlds)


def test_two_sweeps_at_once_send_nothing_twice(world: World, parts: Parts) -> None:
    accepted = queued(world, seconds=None, count=0)
    both_at_once(world.database, parts)
    assert parts.sent == [accepted.task_id]


def test_two_sweeps_at_once_tell_nothing_twice(world: World, parts: Parts) -> None:
    task = world.started()
    world.ledger().complete(task, "done", USAGE)
    world.change_run(task.run_id, finished_at=ago(11))
    both_at_once(world.database, parts)
    assert len(parts.told) == 1
