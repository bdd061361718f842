"""What has a deadline is ended when it is past, once; and what was asked to end, ends as it was asked."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from bootstrap import build_node
from models import Run, Task, utc_now
from models.statuses import CancelReason, HeldReason, RunStatus, TaskStatus
from models.tenancy import Database
from settings import load_settings
from tasks.node import Node
from tasks.sender import web_sender
from tests.integration.core.moves import accept, ledger, started
from tests.integration.core.world import HOST, World
from workspace.cancellation import Cancellation
from workspace.events import Usage

pytestmark = pytest.mark.stack

AGE = 3_600.0
DEADLINE = 100.0


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Iterator[Node]:
    """A node that hosts nothing and listens to nothing: it sweeps when it is told to."""
    settings = load_settings().model_copy(
        update={
            "database_url": database.engine.url.render_as_string(hide_password=False),
            "data_dir": tmp_path,
            "run_max_age": AGE,
            "task_deadline": DEADLINE,
        }
    )
    app = web_sender(settings)
    yield build_node(app, name=f"sweeping-{uuid4().hex}", settings=settings)
    app.close()


@pytest.fixture
def world(world: World, store: redis.Redis) -> World:
    """A workspace whose host lives, as far as the node can see."""
    store.set(world.key.lease, HOST.node_id, ex=120)
    return world


def ago(seconds: float) -> datetime:
    return utc_now() - timedelta(seconds=seconds)


def swept(node: Node) -> dict[str, int]:
    """Sweep, and return what was mended; alerts of what is stuck mend nothing."""
    return {name: count for name, count in node.sweep().items() if count and name != "stuck"}


def told(store: redis.Redis, world: World) -> list[bytes]:
    """The events of the world's session."""
    stored: Any = store.xrange(world.key.session_events(world.session_id))
    return [fields[b"e"] for _, fields in stored]


def lose_the_host(world: World) -> None:
    world.change_workspace(node_id=None, epoch=HOST.epoch + 1, alive_until=None)


def both(world: World, run_id: object) -> tuple[Run, Task]:
    (task,) = [task for task in world.tasks() if task.run_id == run_id]
    return world.run(task.run_id), task


@pytest.mark.parametrize("held", [None, HeldReason.SESSION, HeldReason.USER_CAP])
def test_a_run_that_waited_too_long_fails_and_the_next_one_goes(
    world: World, node: Node, store: redis.Redis, held: HeldReason | None
) -> None:
    world.agent("other")
    old = accept(world)
    if held:
        world.change_task(old.task_id, status=TaskStatus.HELD, held_reason=held)
    young = accept(world)
    world.change_run(old.run_id, created_at=ago(AGE + 5))
    world.change_run(young.run_id, created_at=ago(AGE - 60))
    assert swept(node)["expired"] == 1
    run, task = both(world, old.run_id)
    assert (run.status, task.status, run.cancel_reason) == (
        RunStatus.FAILED,
        TaskStatus.FAILED,
        CancelReason.TOO_OLD,
    )
    assert run.error is not None
    assert run.error == task.error
    assert (run.error["error_code"], run.error["retryable"]) == ("deadline_exceeded", True)
    assert run.announced_at is not None
    events = told(store, world)
    assert sum(b"run_failed" in event and str(old.run_id).encode() in event for event in events) == 1
    assert world.task(young.task_id).status is TaskStatus.QUEUED
    before = world.rows()
    assert swept(node) == {}
    assert world.rows() == before
    assert told(store, world) == events


def test_a_run_that_is_worked_on_for_too_long_is_told_to_stop_once(world: World, node: Node) -> None:
    task = started(world)
    world.change_run(task.run_id, created_at=ago(AGE + 5))
    assert swept(node) == {"expired": 1}
    run, row = both(world, task.run_id)
    assert (run.status, row.status, run.cancel_reason) == (
        RunStatus.RUNNING,
        TaskStatus.RUNNING,
        CancelReason.TOO_OLD,
    )
    before = world.rows()
    assert swept(node) == {}
    assert world.rows() == before


def test_a_task_past_its_running_time_is_ended_although_its_node_lives(
    world: World, node: Node, store: redis.Redis
) -> None:
    task, held = started(world), accept(world)
    world.change_task(task.id, started_at=ago(DEADLINE + 50))
    assert swept(node) == {}
    world.change_task(task.id, started_at=ago(DEADLINE + 61))
    assert swept(node) == {"overdue": 1}
    run, row = both(world, task.run_id)
    assert (run.status, row.status) == (RunStatus.FAILED, TaskStatus.FAILED)
    assert run.error is not None
    assert run.error == row.error
    assert run.error["error_code"] == "deadline_exceeded"
    assert ledger(world).complete(task, "late", Usage()) is None
    assert world.task(held.task_id).status is TaskStatus.QUEUED
    events = told(store, world)
    assert [sum(name in event for event in events) for name in (b'"task_failed"', b'"run_failed"')] == [1, 1]
    before = world.rows()
    assert swept(node) == {}
    assert world.rows() == before


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (None, "failed", "worker_lost"),
        (CancelReason.REQUESTED, "cancelled", "cancelled"),
        (CancelReason.INTERRUPTED, "cancelled", "cancelled"),
        (CancelReason.TOO_OLD, "failed", "deadline_exceeded"),
    ],
)
def test_a_run_whose_node_is_lost_ends_as_it_was_asked_to_end(
    world: World, node: Node, store: redis.Redis, reason: CancelReason | None, status: str, code: str
) -> None:
    task, held = started(world), accept(world)
    if reason is not None:
        Cancellation(world.database).cancel_run(world.key, task.run_id, reason)
    lose_the_host(world)
    done = swept(node)
    assert done["lost"] == 1
    run, row = both(world, task.run_id)
    assert (run.status, row.status) == (status, status)
    assert run.error is not None
    assert run.error["error_code"] == code
    assert world.task(held.task_id).status is TaskStatus.QUEUED
    events = told(store, world)
    assert sum(f'"run_{status}"'.encode() in event for event in events) == 1
    assert sum(b'"event_type":"run_' in event for event in events) == 1
    assert swept(node).get("lost") is None
    assert told(store, world) == events


def test_a_cancelled_task_that_its_node_never_ends_is_ended_as_cancelled(world: World, node: Node) -> None:
    task = started(world)
    Cancellation(world.database).cancel_run(world.key, task.run_id)
    world.change_task(task.id, started_at=ago(DEADLINE + 61))
    assert swept(node) == {"overdue": 1}
    run, row = both(world, task.run_id)
    assert (run.status, row.status) == (RunStatus.CANCELLED, TaskStatus.CANCELLED)
