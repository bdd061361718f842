"""What ends runs meets what moves their plans, at the moments at which one could miss the other."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from models import Run, UserAgent
from models.statuses import RunStatus, TaskStatus
from orchestrator.run_end import RunEnd, RunEnds
from tests.integration.core.plans.test_rows import Launched
from tests.integration.core.world import World
from tests.support.locks import row_held
from workspace.cancellation import Cancellation
from workspace.events import Usage
from workspace.ledger import StartedTask
from workspace.names import CLOSING_ID, ORCHESTRATOR

pytestmark = pytest.mark.stack


def test_a_cancel_that_waits_for_a_launch_ends_what_that_launched(world: World) -> None:
    plan = Launched(world, {"a": (), "b": ("a",)})
    cancellation = Cancellation(world.database)
    with ThreadPoolExecutor(2) as threads, row_held(world.database, Run, plan.run_id) as run_row:
        launch = threads.submit(plan.launch)
        run_row.await_waiting(1)  # its planning task has ended, and the run is the last that it needs
        cancel = threads.submit(partial(cancellation.cancel_run, world.key, plan.run_id))
        run_row.await_waiting(2)
        run_row.let_go()
    assert launch.result()
    assert [run.run_id for run in cancel.result().ended] == [plan.run_id]
    assert world.run(plan.run_id).status is RunStatus.CANCELLED
    assert [task.plan_task_id for task in world.tasks() if not task.status.is_final] == []


def test_the_end_of_a_plan_and_a_reset_do_not_wait_for_each_other(world: World) -> None:
    """What a session holds for a plan may be older than the tasks of that plan, which are made at its launch."""
    plan = Launched(world, {"a": ()})
    held = world.accept()
    assert plan.launch()
    assert held.task_id < plan.task(CLOSING_ID).id
    plan.complete("a")
    closing = world.try_to_start(plan.task(CLOSING_ID).id, agent_id=world.key.project_id)
    assert isinstance(closing, StartedTask)
    end = RunEnd(task=TaskStatus.COMPLETED, run=RunStatus.COMPLETED, text="All of it.", usage=Usage())
    with ThreadPoolExecutor(2) as threads, row_held(world.database, Run, plan.run_id) as run_row:
        ending = threads.submit(RunEnds(world.database).write, closing, end)
        run_row.await_waiting(1)  # it has its task, and takes what the session held when it has the run
        reset = threads.submit(Cancellation(world.database).reset, world.key)
        run_row.await_waiting(2)
        run_row.let_go()
    ended = ending.result()
    assert ended is not None
    assert ended.next_task is not None
    assert ended.next_task.id == held.task_id
    assert [run.run_id for run in reset.result().ended] == [held.run_id]


def test_what_cannot_run_is_told_of_before_anything_is_sent(world: World) -> None:
    """The closing task may be all that is left, and nothing is told of a run after its end."""
    plan = Launched(world, {"a": (), "b": ("a",)})
    with world.database.system_session("a test deletes rows") as session:
        session.delete(session.get_one(UserAgent, world.agent_id))
        session.commit()
    order: list[str] = []
    plan.kept.publish = lambda _, payload: order.append(payload.event_type)
    plan.kept.send = lambda follow_ups: order.extend(task.agent_name for task in follow_ups.queued)
    assert plan.launch()
    assert order == ["task_completed", "task_cancelled", "task_cancelled", ORCHESTRATOR]
