"""Ending runs in the rows: what ends there, what is left to its node, and what comes too late."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from bootstrap import redis_client
from models import new_id, utc_now
from models.statuses import CancelReason, HeldReason, RunStatus, TaskStatus
from models.tenancy import Database
from settings import load_settings
from tests.integration.core.moves import accept, ledger, start, started
from tests.integration.core.world import HOST, World, make_world, together
from tests.support.waiting import eventually
from workspace.agent_cache import AgentCache
from workspace.agent_store import AgentStore
from workspace.alerts import Alerts
from workspace.cancellation import Cancellation
from workspace.errors import AgentQueueFull, ErrorCode, NotFound, SessionBusy
from workspace.event_publisher import EventPublisher
from workspace.events import Failure, Usage
from workspace.intake import OnBusy
from workspace.ledger import Host, Settled, StartedTask
from workspace.names import WorkspaceKey
from workspace.user_cap import UserCap

pytestmark = pytest.mark.stack

USAGE = Usage()
CANCELLED = Failure(error_code=ErrorCode.CANCELLED, detail="The run was cancelled.")


def cancel(world: World, run_id: UUID, reason: CancelReason = CancelReason.REQUESTED) -> Any:
    return Cancellation(world.database).cancel_run(world.key, run_id, reason)


@pytest.fixture
def agents(database: Database) -> Iterator[AgentStore]:
    client = redis_client(load_settings())
    alerts = Alerts(client, EventPublisher(client, buffer_size=10, buffer_ttl=10))
    yield AgentStore(database, AgentCache(size=10, ttl=60, client=client, alerts=alerts))
    client.close()


# -- what ends where ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [CancelReason.REQUESTED, CancelReason.INTERRUPTED, CancelReason.TOO_OLD])
def test_work_on_a_node_is_marked_and_what_it_writes_at_its_end_counts(world: World, reason: CancelReason) -> None:
    task = started(world)
    ending = cancel(world, task.run_id, reason)
    assert (ending.at_work, ending.ended, ending.released) == ([task.id], [], [])
    run = world.run(task.run_id)
    assert (run.status, run.finished_at, run.cancel_reason) == (RunStatus.RUNNING, None, reason)
    assert world.task(task.id).status is TaskStatus.RUNNING
    settled = ledger(world).cancel(task, CANCELLED, USAGE, text="so far")
    assert settled is not None
    assert settled.message_id is not None
    assert world.task(task.id).status is TaskStatus.CANCELLED
    assert [message.content for message in world.messages()] == ["hello", "so far"]


@pytest.mark.parametrize("reason", [CancelReason.RESET, CancelReason.AGENT_DELETED])
def test_work_on_a_node_ends_in_the_rows_at_once_where_nobody_waits_for_it(world: World, reason: CancelReason) -> None:
    task = started(world)
    ending = cancel(world, task.run_id, reason)
    assert ending.at_work == [task.id]
    assert [one.run_id for one in ending.ended] == [task.run_id]
    run, row = world.run(task.run_id), world.task(task.id)
    assert (run.status, row.status) == (RunStatus.CANCELLED, TaskStatus.CANCELLED)
    assert run.finished_at is not None
    assert row.finished_at is not None
    assert ledger(world).complete(task, "too late", USAGE) is None
    assert ledger(world).cancel(task, CANCELLED, USAGE, text="too late") is None
    assert [message.content for message in world.messages()] == ["hello"]


def test_the_first_reason_stays(world: World) -> None:
    task = started(world)
    cancel(world, task.run_id, CancelReason.INTERRUPTED)
    asked = world.run(task.run_id).cancel_requested_at
    for reason in (CancelReason.REQUESTED, CancelReason.TOO_OLD):
        cancel(world, task.run_id, reason)
    run = world.run(task.run_id)
    assert (run.cancel_reason, run.cancel_requested_at) == (CancelReason.INTERRUPTED, asked)


def test_ending_a_queued_run_releases_the_next_of_its_session_and_no_other(world: World) -> None:
    other = world.session()
    first, second, third = (accept(world) for _ in range(3))
    accept(world, other)
    elsewhere = accept(world, other)
    ending = cancel(world, first.run_id)
    assert [task.id for task in ending.released] == [second.task_id]
    assert [world.task(one.task_id).status for one in (first, second, third, elsewhere)] == [
        TaskStatus.CANCELLED,
        TaskStatus.QUEUED,
        TaskStatus.HELD,
        TaskStatus.HELD,
    ]


def test_a_run_of_another_user_or_project_is_not_found(world: World) -> None:
    accepted = accept(world)
    stranger, elsewhere = make_world(world.database), world.project()
    before = world.rows()
    for key in (
        stranger.key,
        elsewhere.key,
        WorkspaceKey(stranger.key.user_id, world.key.project_id),
        WorkspaceKey(world.key.user_id, uuid4()),
    ):
        with pytest.raises(NotFound):
            Cancellation(world.database).cancel_run(key, accepted.run_id)
    with pytest.raises(NotFound):
        cancel(world, new_id())
    assert world.rows() == before


# -- a node that stops -------------------------------------------------------------------------------------------


def test_a_task_whose_end_was_asked_for_is_not_put_back_on_its_queue(world: World) -> None:
    task = started(world)
    cancel(world, task.run_id)
    assert ledger(world).requeue(task) is False
    row = world.task(task.id)
    assert (row.status, row.node_id, row.epoch) == (TaskStatus.RUNNING, *HOST)
    assert ledger(world).cancel(task, CANCELLED, USAGE, text="") is not None


def test_a_cancel_beside_a_requeue_never_leaves_a_task_to_be_answered(world: World) -> None:
    for _ in range(15):
        task = started(world, world.session())
        put_back, _ = together([partial(ledger(world).requeue, task), partial(cancel, world, task.run_id)])
        if put_back:
            assert world.run(task.run_id).status is RunStatus.CANCELLED
            assert world.task(task.id).status is TaskStatus.CANCELLED
        else:
            assert world.run(task.run_id).cancel_requested_at is not None
            assert world.task(task.id).status is TaskStatus.RUNNING


def test_of_an_end_and_a_cancel_at_once_one_is_written(world: World) -> None:
    for _ in range(15):
        task = started(world, world.session())
        settled, _ = together(
            [partial(ledger(world).complete, task, "answer", USAGE), partial(cancel, world, task.run_id)]
        )
        assert isinstance(settled, Settled)
        run = world.run(task.run_id)
        assert (run.status, world.task(task.id).status) == (RunStatus.COMPLETED, TaskStatus.COMPLETED)


def test_of_a_start_and_a_cancel_at_once_the_task_either_never_starts_or_is_told_to_stop(world: World) -> None:
    for _ in range(15):
        accepted = accept(world, world.session())
        began, ending = together([partial(start, world, accepted), partial(cancel, world, accepted.run_id)])
        if isinstance(began, StartedTask):
            assert ending.at_work == [accepted.task_id]  # type: ignore[union-attr]
            assert world.run(accepted.run_id).cancel_requested_at is not None
        else:
            assert ending.at_work == []  # type: ignore[union-attr]
            assert world.task(accepted.task_id).status is TaskStatus.CANCELLED


# -- reset -------------------------------------------------------------------------------------------------------


def test_a_reset_ends_everything_of_its_workspace_and_of_no_other(world: World) -> None:
    other = world.session()
    running, held = started(world), accept(world)
    queued = accept(world, other)
    elsewhere = world.project()
    theirs = accept(elsewhere)
    capped = accept(world, world.session())
    world.change_task(capped.task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP)
    stranger = make_world(world.database)
    strange = accept(stranger)
    ending = Cancellation(world.database).reset(world.key)
    ours = {one.run_id for one in (running, held, queued, capped)}
    assert {one.run_id for one in ending.ended} == ours
    assert (ending.at_work, ending.released) == ([running.id], [])
    for run_id in ours:
        run = world.run(run_id)
        assert (run.status, run.cancel_reason) == (RunStatus.CANCELLED, CancelReason.RESET)
        assert run.error is not None
        assert run.error["error_code"] == "cancelled"
    assert {task.status for task in world.tasks()} == {TaskStatus.CANCELLED}
    assert (world.workspace().epoch, world.workspace().node_id) == (HOST.epoch + 1, HOST.node_id)
    for apart, accepted in ((elsewhere, theirs), (stranger, strange)):
        assert apart.task(accepted.task_id).status is TaskStatus.QUEUED
        assert apart.workspace().epoch == HOST.epoch


def test_after_a_reset_only_the_new_epoch_starts_and_settles(world: World) -> None:
    Cancellation(world.database).reset(world.key)
    accepted = accept(world)
    assert ledger(world).start(accepted.task_id, world.key, world.agent_id, HOST) is None
    task = start(world, accepted, Host(HOST.node_id, HOST.epoch + 1))
    assert ledger(world).complete(task, "answer", USAGE) is not None


def test_what_is_written_under_an_old_epoch_is_refused_whatever_the_row_says(world: World) -> None:
    task = started(world)
    world.change_workspace(epoch=HOST.epoch + 1)
    before = world.rows()
    books = ledger(world)
    assert books.complete(task, "late", USAGE) is None
    assert books.fail(task, CANCELLED, USAGE) is None
    assert books.cancel(task, CANCELLED, USAGE, text="late") is None
    assert books.requeue(task) is False
    assert world.rows() == before


def test_a_workspace_that_is_gone_cannot_be_reset(world: World) -> None:
    with pytest.raises(NotFound):
        Cancellation(world.database).reset(WorkspaceKey(world.key.user_id, uuid4()))


def test_messages_beside_resets_are_ended_or_can_start_and_none_is_stuck(world: World) -> None:
    for _ in range(8):
        session = world.session()
        start(world, accept(world, session), Host(HOST.node_id, world.workspace().epoch))
        calls: list[Callable[[], Any]] = [partial(accept, world, session) for _ in range(4)]
        calls.append(partial(Cancellation(world.database).reset, world.key))
        for result in together(calls):
            assert not isinstance(result, Exception), result
        left = [task for task in world.tasks(session) if not task.status.is_final]
        assert [task.status for task in left[:1]] in ([], [TaskStatus.QUEUED])
        assert {task.status for task in left[1:]} <= {TaskStatus.HELD}


# -- refusals ----------------------------------------------------------------------------------------------------


def test_an_interrupt_that_is_refused_for_a_full_queue_ends_nothing(world: World) -> None:
    running = started(world)
    held = accept(world)
    for _ in range(3):
        accept(world, world.session())
    before = world.rows()
    # The interrupt would free one of the four places, which is still one too many.
    with pytest.raises(AgentQueueFull) as refusal:
        accept(world, on_busy=OnBusy.INTERRUPT, queue_limit=3)
    assert refusal.value.queued == 3
    assert world.rows() == before
    accepted = accept(world, on_busy=OnBusy.INTERRUPT, queue_limit=4)
    assert accepted.interrupted.at_work == [running.id]
    assert [one.run_id for one in accepted.interrupted.ended] == [held.run_id]


def test_a_rejected_message_writes_nothing(world: World) -> None:
    accept(world)
    before = world.rows()
    with pytest.raises(SessionBusy):
        accept(world, on_busy=OnBusy.REJECT)
    assert world.rows() == before


# -- the order of locks ------------------------------------------------------------------------------------------


def _waits(database: Database) -> bool:
    with database.engine.connect() as connection:
        return bool(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )
        )


@pytest.mark.parametrize("what", ["enqueue", "interrupt", "cancel", "reset", "delete the agent"])
def test_whatever_comes_while_a_task_ends_waits_for_it_and_never_holds_what_it_needs(
    world: World, agents: AgentStore, what: str
) -> None:
    task = started(world)
    held = accept(world)
    acts: dict[str, Callable[[], Any]] = {
        "enqueue": partial(accept, world),
        "interrupt": partial(accept, world, on_busy=OnBusy.INTERRUPT),
        "cancel": partial(cancel, world, task.run_id),
        "reset": partial(Cancellation(world.database).reset, world.key),
        "delete the agent": partial(agents.delete, world.key, world.agent_id),
    }
    now = utc_now()
    with world.database.engine.connect() as ending, ThreadPoolExecutor(1) as thread:
        # The steps of a finish, one by one: the task, its run, what the session held.
        ending.execute(
            text("UPDATE tasks SET status = 'completed', finished_at = :now WHERE id = :id"),
            {"id": task.id, "now": now},
        )
        other = thread.submit(acts[what])
        eventually(lambda: other.done() or _waits(world.database), f"{what} to wait or to be done")
        ending.execute(
            text("UPDATE runs SET status = 'completed', finished_at = :now WHERE id = :id"),
            {"id": task.run_id, "now": now},
        )
        ending.execute(
            text("UPDATE tasks SET status = 'queued', held_reason = NULL WHERE id = :id AND status = 'held'"),
            {"id": held.task_id},
        )
        ending.commit()
        other.result(20)
    assert world.run(task.run_id).status is RunStatus.COMPLETED
    world.agent("another")


def test_a_release_for_the_cap_locks_in_the_order_of_a_reset(world: World) -> None:
    first, second = (accept(world, world.session()) for _ in range(2))
    for one in (second, first):  # their place in the table is the other way round now
        world.change_task(one.task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP)
    world.change_task(first.task_id, send_count=5)
    lock = text("SELECT id FROM tasks WHERE id = :id FOR NO KEY UPDATE")
    with world.database.engine.connect() as resetting, ThreadPoolExecutor(1) as thread:
        resetting.execute(lock, {"id": first.task_id})
        release = thread.submit(UserCap(world.database, cap=10).release, world.key.user_id)
        eventually(lambda: _waits(world.database), "the release to wait")
        resetting.execute(lock, {"id": second.task_id})
        resetting.execute(
            text("UPDATE tasks SET status = 'cancelled', finished_at = now() WHERE id = :id"), {"id": first.task_id}
        )
        resetting.commit()
        assert [task.id for task in release.result(20)] == [second.task_id]
