"""The moves of an orchestrated run's rows: each is made once, by the node that has the task, and by no unwanted run."""

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from models import ApprovalRequest, utc_now
from models.statuses import ApprovalStatus, CancelReason, RunStatus, TaskStatus
from orchestrator.plan_approvals import PlanApprovals
from orchestrator.run_end import RunEnd, RunEnds
from orchestrator.run_rows import RunRows
from tests.integration.core.world import World
from tests.support.plans import view_of
from workspace.errors import Cancelled, PlanRejected, WorkerLost
from workspace.events import Usage
from workspace.interruptible import Interrupted
from workspace.ledger import StartedTask
from workspace.plans.view import PlanView

pytestmark = pytest.mark.stack

USED = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)


@pytest.fixture
def rows(world: World) -> RunRows:
    return RunRows(world.database, PlanApprovals(timeout=300))


@pytest.fixture
def task(world: World) -> StartedTask:
    """A planning task at work."""
    accepted = world.accept(agent=None)
    started = world.try_to_start(accepted.task_id, agent_id=world.key.project_id)
    assert isinstance(started, StartedTask)
    return started


@pytest.fixture
def view(world: World) -> PlanView:
    return view_of({"a": []}, ids={"helper": world.agent_id})


def approvals(world: World) -> int:
    with world.database.tenant_session(world.key.user_id) as session:
        return session.scalars(select(func.count(ApprovalRequest.id))).one()


def test_the_first_plan_of_a_run_stays(world: World, rows: RunRows, task: StartedTask, view: PlanView) -> None:
    assert rows.keep_plan(task, view, USED) == view
    other = view_of({"b": []}, ids={"helper": world.agent_id})
    assert rows.keep_plan(task, other, Usage()) == view
    standing = rows.standing(task)
    assert (standing.view, standing.verdict, standing.usage) == (view, None, USED)
    assert world.run(task.run_id).started_at == task.started_at


def test_a_parked_plan_holds_nothing_and_its_run_waits(
    world: World, rows: RunRows, task: StartedTask, view: PlanView
) -> None:
    rows.keep_plan(task, view, USED)
    asked = rows.park(task, view, ("It is asked for.",))
    parked = world.task(task.id)
    assert (parked.status, parked.node_id, parked.epoch) == (TaskStatus.WAITING, None, None)
    assert Usage.model_validate(parked.usage) == USED
    assert world.run(task.run_id).status is RunStatus.WAITING
    assert rows.park(task, view, ("It is asked for.",), again=True).id == asked.id
    assert approvals(world) == 1


def test_an_owner_is_not_asked_by_a_node_that_lost_the_workspace(
    world: World, rows: RunRows, task: StartedTask, view: PlanView
) -> None:
    world.change_workspace(epoch=2)
    for move in moves(rows, task, view):
        with pytest.raises(Interrupted) as interrupt:
            move()
        assert isinstance(interrupt.value.failure, WorkerLost)
    assert (approvals(world), world.run(task.run_id).plan) == (0, None)


def test_a_run_whose_end_was_asked_for_gets_no_plan_and_asks_nobody(
    world: World, rows: RunRows, task: StartedTask, view: PlanView
) -> None:
    world.change_run(task.run_id, cancel_requested_at=utc_now(), cancel_reason=CancelReason.REQUESTED)
    for move in moves(rows, task, view):
        with pytest.raises(Interrupted) as interrupt:
            move()
        assert isinstance(interrupt.value.failure, Cancelled)
    assert (approvals(world), world.run(task.run_id).plan) == (0, None)
    assert world.task(task.id).status is TaskStatus.RUNNING


def moves(rows: RunRows, task: StartedTask, view: PlanView) -> list[Callable[[], object]]:
    return [
        lambda: rows.keep_plan(task, view, USED),
        lambda: rows.change_plan(task, view),
        lambda: rows.park(task, view, ("It is asked for.",)),
    ]


def test_an_end_is_written_once_with_all_that_hangs_on_it(world: World, task: StartedTask) -> None:
    behind = world.accept()
    ends = RunEnds(world.database)
    end = RunEnd.of_failure(PlanRejected(), cancelled=True)
    ended = ends.write(task, end)
    assert ended is not None
    assert ended.next_task is not None
    assert ended.next_task.id == behind.task_id
    assert (world.run(task.run_id).status, world.task(task.id).status) == (RunStatus.CANCELLED, TaskStatus.CANCELLED)
    assert world.task(task.id).remembered_at is not None
    assert ends.write(task, RunEnd.of_failure(PlanRejected())) is None


def test_an_end_is_refused_to_a_node_that_lost_the_workspace(world: World, task: StartedTask) -> None:
    world.change_workspace(epoch=2)
    assert RunEnds(world.database).write(task, RunEnd.of_failure(PlanRejected())) is None
    assert world.run(task.run_id).finished_at is None


def test_what_was_asked_is_closed_with_the_run(world: World, rows: RunRows, task: StartedTask, view: PlanView) -> None:
    asked = rows.park(task, view, ("It is asked for.",))
    world.change_task(task.id, status=TaskStatus.RUNNING, node_id=task.host.node_id, epoch=task.host.epoch)
    ended = RunEnds(world.database).write(task, RunEnd.of_failure(Cancelled()))
    assert ended is not None
    assert [closed.id for closed in ended.closed] == [asked.id]
    with world.database.tenant_session(world.key.user_id) as session:
        assert session.get_one(ApprovalRequest, asked.id).status is ApprovalStatus.CANCELLED
