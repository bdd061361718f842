"""The rows of plans move by themselves: what follows an end, how the run stands, and who promotes what waited."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import inspect

from models import Run, Task, utc_now
from models.statuses import CancelReason, HeldReason, RunStatus, TaskStatus
from orchestrator.launching import Launching
from tests.integration.core.world import PLENTY, World, together
from tests.support.launches import Wanted, plan_of, write_planned
from tests.support.locks import row_held
from tests.support.plans import stored
from tests.support.waiting import eventually
from workspace.cancellation import Cancellation
from workspace.errors import InternalFailure
from workspace.events import Failure, Usage
from workspace.ledger import HeldBack, StartedTask
from workspace.names import CLOSING_ID, PLANNING_ID
from workspace.plans.edges import FollowUps, Join
from workspace.plans.ledger import PlanLedger, SettledTask
from workspace.plans.rows import tasks_of
from workspace.usage import NO_USAGE

USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
pytestmark = pytest.mark.stack


class Kept:
    """Edges and a publisher that keep what they are given."""

    def __init__(self) -> None:
        self.opened: list[Join] = []
        self.sent = FollowUps()

    def open(self, joins: list[Join]) -> None:
        self.opened += joins

    def send(self, follow_ups: FollowUps) -> None:
        self.sent.add(follow_ups)

    def lost(self, joins: list[Join]) -> list[Join]:
        return []

    def publish(self, *_: Any) -> object:
        return object()


class Launched:
    """A plan whose rows are written, and nothing of which was sent."""

    def __init__(self, world: World, tasks: Mapping[str, tuple[str, ...]]) -> None:
        self.world = world
        self.kept: Any = Kept()
        plan = plan_of({name: Wanted("helper", after=after) for name, after in tasks.items()})
        view = stored(plan, {"helper": world.agent_id})
        self.planning = write_planned(world.database, world.key, world.session_id, view)
        self.run_id = self.planning.run_id
        self.launch: Callable[[], bool] = partial(
            Launching(world.database, self.kept, self.kept).launch, self.planning, view, plan, NO_USAGE
        )
        self.ledger = PlanLedger(world.database, user_task_cap=PLENTY)

    def task(self, name: str) -> Task:
        return next(task for task in self.world.tasks() if task.plan_task_id == name)

    def statuses(self) -> dict[str, str]:
        return {task.plan_task_id or "": task.status.value for task in self.world.tasks()}

    def try_to_start(self, name: str, *, cap: int = PLENTY) -> StartedTask | HeldBack | None:
        return self.world.try_to_start(self.task(name).id, cap=cap)

    def start(self, name: str) -> StartedTask:
        started = self.try_to_start(name)
        assert isinstance(started, StartedTask), name
        return started

    def complete(self, name: str) -> SettledTask:
        return self.settled(self.start(name))

    def settled(self, task: StartedTask) -> SettledTask:
        settled = self.ledger.complete(task, f"text of {task.plan_task_id}", USAGE)
        assert settled is not None
        return settled

    def fail(self, name: str) -> SettledTask:
        settled = self.ledger.fail(self.start(name), Failure.of(InternalFailure()), USAGE)
        assert settled is not None
        return settled


def launched(world: World, **tasks: tuple[str, ...]) -> Launched:
    made = Launched(world, tasks)
    assert made.launch()
    return made


def queued(settled: SettledTask, plan: Launched) -> list[str]:
    names = {task.id: task.plan_task_id for task in plan.world.tasks()}
    return sorted(names[task.id] or "" for task in settled.follow_ups.queued)


def parts(settled: SettledTask) -> list[tuple[str, str, int, int]]:
    return sorted((each.dependency, each.dependent, each.index, each.size) for each in settled.follow_ups.arrivals)


# -- launching ---------------------------------------------------------------------------------------------------


def test_a_launch_takes_the_configs_that_the_agents_have_now(world: World) -> None:
    plan = Launched(world, {"a": (), "b": ("a",)})
    world.change_agent(version=7)
    assert plan.launch()
    assert {plan.task(name).agent_version for name in ("a", "b")} == {7}


def test_a_launch_queues_what_waits_for_nothing_and_opens_the_chords(world: World) -> None:
    plan = launched(world, a=(), b=(), c=("a", "b"), d=("a", "c"))
    assert plan.statuses() == {
        PLANNING_ID: "completed",
        "a": "queued",
        "b": "queued",
        "c": "pending",
        "d": "pending",
        CLOSING_ID: "pending",
    }
    assert plan.kept.opened == [Join(plan.run_id, "c", 2)]
    assert {task.id for task in plan.kept.sent.queued} == {plan.task("a").id, plan.task("b").id}
    assert plan.task("d").follows == [plan.task("c").id], "an edge that follows from others"
    assert plan.task("d").depends_on == [plan.task("a").id, plan.task("c").id]
    assert world.run(plan.run_id).status is RunStatus.RUNNING
    ids = [task.id for task in world.tasks()]
    assert ids == sorted(ids)
    assert ids[-1] == plan.task(CLOSING_ID).id


@pytest.mark.parametrize("what", ["lost", "cancelled"])
def test_a_plan_is_not_launched_where_its_planning_task_may_not_write(world: World, what: str) -> None:
    plan = Launched(world, {"a": ()})
    if what == "lost":
        world.change_workspace(epoch=2)
    else:
        world.change_run(plan.run_id, cancel_requested_at=utc_now(), cancel_reason=CancelReason.REQUESTED)
    assert not plan.launch()
    assert plan.statuses() == {PLANNING_ID: "running"}
    assert plan.kept.opened == plan.kept.sent.queued == []


def test_who_moves_a_plan_reads_no_texts_of_its_tasks(world: World) -> None:
    plan = launched(world, a=(), b=("a",))
    plan.complete("a")
    with world.database.tenant_session(world.key.user_id) as session:
        assert all(
            inspect(task).unloaded == {"instruction", "result", "recalled"} for task in tasks_of(session, plan.run_id)
        )
        (_, a, *_) = tasks_of(session, plan.run_id, texts=True)
        assert (a.instruction, a.result) == ("Do it.", "text of a")


# -- what follows ------------------------------------------------------------------------------------------------


def test_a_dependent_that_waits_for_one_is_queued_with_its_end(world: World) -> None:
    plan = launched(world, a=(), b=("a",), c=("a",))
    assert queued(plan.complete("a"), plan) == ["b", "c"]
    assert plan.task("b").status is TaskStatus.QUEUED
    assert plan.task("b").send_count == 1


def test_a_dependent_that_waits_for_several_gets_a_part_from_each(world: World) -> None:
    plan = launched(world, a=(), b=(), c=("a", "b"))
    assert parts(plan.complete("b")) == [("b", "c", 1, 2)]
    assert parts(plan.complete("a")) == [("a", "c", 0, 2)]
    assert plan.task("c").status is TaskStatus.PENDING


def test_what_depends_on_a_failure_is_skipped_and_adds_its_own_parts(world: World) -> None:
    plan = launched(world, a=(), b=("a",), c=("b",), other=())
    settled = plan.fail("a")
    assert [(each.plan_task_id, each.because_of) for each in settled.follow_ups.skipped] == [
        ("b", ("a",)),
        ("c", ("a",)),
    ]
    assert parts(settled) == [("c", CLOSING_ID, 0, 2)]
    assert queued(settled, plan) == []


def test_the_closing_task_is_never_skipped(world: World) -> None:
    plan = launched(world, a=(), b=("a",))
    assert queued(plan.fail("a"), plan) == [CLOSING_ID]
    assert plan.statuses()["b"] == "skipped"


# -- starting ----------------------------------------------------------------------------------------------------


def test_a_task_of_a_chord_starts_only_when_all_that_it_waits_for_has_ended(world: World) -> None:
    plan = launched(world, a=(), b=(), c=("a", "b"))
    plan.complete("a")
    assert plan.try_to_start("c") is None
    assert plan.task("c").status is TaskStatus.PENDING
    plan.complete("b")
    started = plan.start("c")
    assert [(each.plan_task_id, each.text) for each in started.given] == [("a", "text of a"), ("b", "text of b")]
    assert started.instruction == "Do it."
    assert plan.try_to_start("c") is None


def test_of_many_bodies_of_one_chord_one_starts(world: World) -> None:
    plan = launched(world, a=(), b=(), c=("a", "b"))
    plan.complete("a")
    plan.complete("b")
    found = together([partial(plan.try_to_start, "c")] * 8)
    assert len([one for one in found if isinstance(one, StartedTask)]) == 1
    assert plan.task("c").attempts == 1


def test_a_task_of_a_chord_over_the_users_cap_is_held(world: World) -> None:
    plan = launched(world, a=(), b=(), c=("a", "b"), d=())
    plan.complete("a")
    plan.complete("b")
    plan.start("d")
    assert isinstance(plan.try_to_start("c", cap=1), HeldBack)
    held = plan.task("c")
    assert (held.status, held.held_reason) == (TaskStatus.HELD, HeldReason.USER_CAP)


def test_the_orchestrators_task_starts_from_its_own_queue_alone(world: World) -> None:
    plan = launched(world, a=())
    plan.complete("a")
    closing = plan.task(CLOSING_ID).id
    assert world.try_to_start(closing) is None
    started = world.try_to_start(closing, agent_id=world.key.project_id)
    assert isinstance(started, StartedTask)
    assert started.plan_task_id == CLOSING_ID


# -- how the run stands ------------------------------------------------------------------------------------------


def test_of_two_last_tasks_that_end_at_once_one_ends_the_run(world: World) -> None:
    plan = launched(world, a=(), b=())
    tasks = [plan.start(name) for name in ("a", "b")]
    Cancellation(world.database).cancel_run(world.key, plan.run_id)
    assert plan.statuses()[CLOSING_ID] == "cancelled"
    with ThreadPoolExecutor(2) as threads, row_held(world.database, Run, plan.run_id) as run_row:
        ends = [threads.submit(plan.settled, task) for task in tasks]
        # Each has written its own end, and has not seen that of the other one.
        eventually(lambda: run_row.waiting() == 2, "both to wait for the run")
        run_row.let_go()
    over = [one.result().ended for one in ends if one.result().ended]
    assert len(over) == 1
    run = world.run(plan.run_id)
    assert run.status is RunStatus.CANCELLED
    assert run.usage["total_tokens"] == 6
    assert run.outcome is not None
    assert [task["status"] for task in run.outcome["tasks"]] == ["completed", "completed"]


def test_the_end_of_a_plan_releases_the_next_run_of_its_session_and_nothing_before_does(world: World) -> None:
    plan = launched(world, a=(), b=())
    task = plan.start("a")
    held = world.accept()
    assert held.held_reason is HeldReason.SESSION
    Cancellation(world.database).cancel_run(world.key, plan.run_id)
    assert world.task(held.task_id).status is TaskStatus.HELD
    settled = plan.settled(task)
    assert settled.ended is not None
    assert settled.ended.next_task is not None
    assert settled.ended.next_task.id == held.task_id


def test_a_session_waits_for_a_plan_of_which_only_pending_tasks_are_left(world: World) -> None:
    plan = launched(world, a=(), b=())
    held = world.accept()
    plan.complete("a")
    plan.complete("b")
    from workspace.ledger import release_next

    with world.database.tenant_session(world.key.user_id) as session:
        assert release_next(session, world.key, world.session_id) is None
    assert world.task(held.task_id).status is TaskStatus.HELD


def test_a_node_that_lost_the_workspace_ends_nothing_of_a_plan(world: World) -> None:
    plan = launched(world, a=(), b=("a",))
    task = plan.start("a")
    world.change_workspace(epoch=2)
    assert plan.ledger.complete(task, "late", USAGE) is None
    assert plan.statuses()["b"] == "pending"
