"""A user has as many tasks at work as the cap says, no place stays empty for long, and nothing waits for ever."""

import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select

from models import Run, Task, User
from models.statuses import HeldReason, RunStatus, TaskStatus
from models.tenancy import Database
from tests.integration.core.world import World, make_world, together
from tests.support.waiting import eventually
from workspace.events import Usage
from workspace.intake import Accepted
from workspace.ledger import HeldBack, QueuedTask, StartedTask, release_next
from workspace.names import WorkspaceKey
from workspace.user_cap import UserCap

pytestmark = pytest.mark.stack

USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
WIDE = 50
"""A limit of an agent that a test does not reach."""


@pytest.fixture
def world(database: Database) -> World:
    """A project whose agents have limits that do not matter."""
    made = make_world(database)
    made.agent("wide", concurrency_limit=WIDE)
    return made


def accept(world: World, session_id: UUID | None = None, agent: str = "wide", *, cap: int = 1_000) -> Accepted:
    return world.accept(session_id or world.session(), agent=agent, intake=world.intake(queue_limit=1_000, cap=cap))


def start(world: World, task_id: UUID, *, cap: int) -> StartedTask | HeldBack | None:
    agent_id = world.task(task_id).agent_id
    assert agent_id is not None
    return world.try_to_start(task_id, agent_id=agent_id, cap=cap)


def over_the_cap(world: World, count: int, agent: str = "wide") -> list[UUID]:
    """Tasks that wait for their user's other work, oldest first."""
    made = [accept(world, agent=agent).task_id for _ in range(count)]
    for task_id in made:
        world.change_task(task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP, sent_at=None, send_count=0)
    return made


def running(world: World, count: int, agent: str = "wide") -> list[StartedTask]:
    """Tasks at work."""
    made = [start(world, accept(world, agent=agent).task_id, cap=1_000) for _ in range(count)]
    assert all(isinstance(one, StartedTask) for one in made)
    return made


def release(world: World, cap: int) -> list[UUID]:
    return [task.id for task in UserCap(world.database, cap=cap).release(world.key.user_id)]


# -- starting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [1, 3, 10])
def test_of_many_starts_at_once_as_many_as_the_cap_begin(world: World, cap: int) -> None:
    sibling = world.project()
    sibling.agent("wide", concurrency_limit=WIDE)
    tasks = [(one, accept(one).task_id) for one in (world, sibling) for _ in range(8)]
    agents = {one: one.task(task_id).agent_id for one, task_id in tasks}
    starts = [partial(one.try_to_start, task_id, agent_id=agents[one], cap=cap) for one, task_id in tasks]
    results = together(starts)
    assert sum(isinstance(result, StartedTask) for result in results) == cap, results
    assert sum(isinstance(result, HeldBack) for result in results) == len(tasks) - cap, results
    statuses = Counter(one.task(task_id).status for one, task_id in tasks)
    assert statuses == {TaskStatus.RUNNING: cap, TaskStatus.HELD: len(tasks) - cap}


def test_a_task_that_is_held_back_says_for_what_and_is_no_message_any_more(world: World) -> None:
    running(world, 1)
    waiting = accept(world)
    held = start(world, waiting.task_id, cap=1)
    assert held == HeldBack(waiting.run_id, waiting.session_id, "wide")
    row = world.task(waiting.task_id)
    assert (row.status, row.held_reason, row.sent_at) == (TaskStatus.HELD, HeldReason.USER_CAP, None)
    assert (row.node_id, row.epoch, row.attempts) == (None, None, 0)
    assert world.run(waiting.run_id).status is RunStatus.QUEUED
    assert start(world, waiting.task_id, cap=1) is None, "a second message of it starts nothing"


def test_the_cap_is_each_users_own(world: World) -> None:
    running(world, 2)
    stranger = make_world(world.database)
    assert isinstance(stranger.try_to_start(stranger.accept().task_id, cap=1), StartedTask)


def test_what_waits_or_is_held_does_not_count(world: World) -> None:
    for status in set(TaskStatus) - {TaskStatus.RUNNING}:
        world.change_task(accept(world).task_id, status=status)
    assert isinstance(start(world, accept(world).task_id, cap=1), StartedTask)


@pytest.mark.parametrize("wrong", ["node", "epoch"])
def test_only_its_host_holds_a_task_back(world: World, wrong: str) -> None:
    running(world, 1)
    waiting = accept(world)
    world.change_workspace(**({"node_id": "another"} if wrong == "node" else {"epoch": 2}))
    assert start(world, waiting.task_id, cap=1) is None
    assert world.task(waiting.task_id).status is TaskStatus.QUEUED


@contextmanager
def meanwhile(world: World, act: Callable[[], object]) -> Iterator[None]:
    """Do something once, right before the next statement that holds tasks or lets them go."""
    engine, done = world.database.engine, []

    def listen(_: Any, __: Any, statement: str, *___: Any) -> None:
        changed = statement.partition("WHERE")[0]
        holds = changed.startswith("UPDATE tasks SET") and "held_reason=" in changed
        # A release locks what it chose before it changes it.
        lets_go = statement.startswith("SELECT tasks.id") and "FOR NO KEY UPDATE" in statement
        if not done and (holds or lets_go):
            done.append(statement)
            act()

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    assert len(done) == 1


def test_a_task_for_which_a_place_became_free_between_look_and_verdict_is_not_held(world: World) -> None:
    """It stays queued, its message goes back to the queue, and the next delivery starts it."""
    (busy,) = running(world, 1)
    waiting = accept(world)
    with meanwhile(world, partial(world.ledger(cap=1).complete, busy, "done", USAGE)):
        assert start(world, waiting.task_id, cap=1) is None
    assert world.task(waiting.task_id).status is TaskStatus.QUEUED
    assert isinstance(start(world, waiting.task_id, cap=1), StartedTask)


# -- accepting ---------------------------------------------------------------------------------------------------


def test_a_message_over_the_cap_is_held_when_it_is_accepted(world: World) -> None:
    running(world, 2)
    accepted = accept(world, cap=2)
    assert (accepted.status, accepted.held_reason, accepted.waits_for_cap) == (
        TaskStatus.HELD,
        HeldReason.USER_CAP,
        True,
    )
    row = world.task(accepted.task_id)
    assert (row.held_reason, row.sent_at, row.send_count) == (HeldReason.USER_CAP, None, 0)
    assert accept(world, cap=3).status is TaskStatus.HELD, "it does not overtake what waits already"
    assert accept(make_world(world.database), agent="helper", cap=1).status is TaskStatus.QUEUED


def test_a_message_behind_another_of_its_session_waits_for_that_first(world: World) -> None:
    running(world, 1)
    first = accept(world, cap=1)
    second = accept(world, first.session_id, cap=1)
    assert (first.held_reason, second.held_reason) == (HeldReason.USER_CAP, HeldReason.SESSION)


# -- letting go --------------------------------------------------------------------------------------------------


def test_as_many_go_as_there_is_room_for_the_oldest_first(world: World) -> None:
    running(world, 2)
    waiting = over_the_cap(world, 5)
    assert release(world, cap=2) == []
    assert release(world, cap=4) == waiting[:2]
    rows = [world.task(task_id) for task_id in waiting]
    assert [row.status for row in rows] == [TaskStatus.QUEUED] * 2 + [TaskStatus.HELD] * 3
    for row in rows[:2]:
        assert (row.held_reason, row.send_count) == (None, 1)
        assert row.sent_at is not None


def test_what_goes_is_named_with_its_own_project_and_agent(world: World) -> None:
    sibling = world.project()
    (mine,), (theirs,) = over_the_cap(world, 1), over_the_cap(sibling, 1, "helper")
    assert UserCap(world.database, cap=5).release(world.key.user_id) == [
        QueuedTask(mine, world.key, "wide"),
        QueuedTask(theirs, sibling.key, "helper"),
    ]


def test_nothing_of_another_user_goes(world: World) -> None:
    stranger = make_world(world.database)
    (theirs,) = over_the_cap(stranger, 1, "helper")
    assert release(world, cap=5) == []
    assert stranger.task(theirs).status is TaskStatus.HELD


def test_what_waits_for_its_session_does_not_go(world: World) -> None:
    first = accept(world)
    second = accept(world, first.session_id)
    assert release(world, cap=5) == []
    assert world.task(second.task_id).held_reason is HeldReason.SESSION


def test_an_agent_with_full_slots_is_passed_over_so_that_no_place_stays_empty(world: World) -> None:
    world.agent("narrow", concurrency_limit=1)
    running(world, 1, "narrow")
    narrow, wide = over_the_cap(world, 2, "narrow"), over_the_cap(world, 3)
    assert release(world, cap=3) == wide[:2]
    assert [world.task(task_id).status for task_id in narrow] == [TaskStatus.HELD] * 2


@pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.RUNNING])
def test_what_an_agent_has_on_its_queue_or_at_work_takes_its_slots(world: World, status: TaskStatus) -> None:
    world.agent("narrow", concurrency_limit=3)
    world.change_task(accept(world, agent="narrow").task_id, status=status)
    waiting = over_the_cap(world, 4, "narrow")
    assert release(world, cap=20) == waiting[:2]


def test_a_place_goes_to_the_oldest_of_all_agents(world: World) -> None:
    world.agent("second", concurrency_limit=WIDE)
    mixed = [over_the_cap(world, 1, agent)[0] for agent in ("second", "wide", "wide", "second", "wide")]
    assert release(world, cap=3) == mixed[:3]
    for task_id in mixed[:3]:
        world.change_task(task_id, status=TaskStatus.COMPLETED)
    assert release(world, cap=3) == mixed[3:]


def test_of_many_releases_at_once_each_task_goes_once_and_no_more_than_there_is_room_for(world: World) -> None:
    world.agent("narrow", concurrency_limit=4)
    waiting = over_the_cap(world, 12, "narrow")
    cap = UserCap(world.database, cap=30)
    results: list[Any] = together([partial(cap.release, world.key.user_id) for _ in range(12)])
    gone = [task.id for result in results for task in result]
    assert sorted(gone) == sorted(waiting[:4])
    assert [world.task(task_id).send_count for task_id in waiting] == [1] * 4 + [0] * 8


def test_a_task_that_is_cancelled_while_it_is_let_go_stays_cancelled(world: World) -> None:
    (waiting,) = over_the_cap(world, 1)
    with meanwhile(world, partial(world.change_task, waiting, status=TaskStatus.CANCELLED)):
        release(world, cap=1)
    assert world.task(waiting).status is TaskStatus.CANCELLED


def test_where_there_is_no_room_nobody_is_waited_for(world: World) -> None:
    """A user at the cap ends many tasks at once, and each end looks here."""
    running(world, 1)
    over_the_cap(world, 1)
    with ThreadPoolExecutor(1) as threads, world.database.tenant_session(world.key.user_id) as session:
        session.execute(select(User.id).where(User.id == world.key.user_id).with_for_update(key_share=True))
        waiting = threads.submit(release, world, 1)
        try:
            assert waiting.result(10) == []
        finally:
            session.rollback()


# -- ends --------------------------------------------------------------------------------------------------------


def test_an_end_says_that_others_may_go_when_some_wait_or_many_work(world: World) -> None:
    first, second, third = running(world, 3)
    over_the_cap(world, 1)
    ended = world.ledger(cap=100).complete(first, "done", USAGE)
    assert ended is not None
    assert ended.crowded
    release(world, cap=100)
    calm = world.ledger(cap=100).complete(second, "done", USAGE)
    busy = world.ledger(cap=2).complete(third, "done", USAGE)
    assert calm is not None
    assert busy is not None
    assert (calm.crowded, busy.crowded) == (False, True), "starts of this very moment are not counted yet"


def test_nothing_of_a_session_overtakes_what_of_it_waits_for_the_cap(world: World) -> None:
    (busy,) = running(world, 1)
    accepted = [accept(world, cap=1)]
    accepted += [accept(world, accepted[0].session_id, cap=1) for _ in range(3)]
    session_id = accepted[0].session_id

    def release_of_session() -> Any:
        with world.database.tenant_session(world.key.user_id) as session:
            released = release_next(session, world.key, session_id)
            session.commit()
        return released

    assert release_of_session() is None
    world.ledger(cap=1).complete(busy, "done", USAGE)
    order = []
    for _ in accepted:
        released = release(world, cap=1)
        queued = [task.id for task in world.tasks(session_id) if task.status is TaskStatus.QUEUED]
        assert released in ([], queued)
        (task_id,) = queued
        assert release_of_session() is None, "one of the session is on its way"
        task = start(world, task_id, cap=1)
        assert isinstance(task, StartedTask)
        order.append(task_id)
        world.ledger(cap=1).complete(task, "done", USAGE)
    assert order == [one.task_id for one in accepted]


# -- all of it at once -------------------------------------------------------------------------------------------


class Hammer:
    """Many workers that take tasks from one queue, start them, end them, and send what that lets go: as nodes do."""

    def __init__(self, worlds: list[World], cap: int) -> None:
        self.worlds = {world.key: world for world in worlds}
        self.cap = cap
        self.user_cap = UserCap(worlds[0].database, cap=cap)
        self.user_id = worlds[0].key.user_id
        self.queue: queue.Queue[QueuedTask | None] = queue.Queue()
        self.lock = threading.Lock()
        self.most_working = 0
        self.limits: dict[UUID, int] = {}
        self.slots: Counter[UUID] = Counter()
        self.agents: dict[tuple[WorkspaceKey, str], UUID] = {}
        self.done: list[UUID] = []
        self.mistakes: list[BaseException] = []

    def send(self, tasks: list[QueuedTask]) -> None:
        for task in tasks:
            self.queue.put(task)

    def let_go(self) -> None:
        self.send(self.user_cap.release(self.user_id))

    def accept(self, world: World, session_id: UUID, agent: str) -> None:
        accepted = accept(world, session_id, agent, cap=self.cap)
        if accepted.status is TaskStatus.QUEUED:
            self.send([QueuedTask(accepted.task_id, world.key, agent)])
        elif accepted.waits_for_cap:
            self.let_go()

    def work(self) -> None:
        while (task := self.queue.get()) is not None:
            try:
                self.carry_out(task)
            except BaseException as error:  # told by the test
                self.mistakes.append(error)

    def carry_out(self, task: QueuedTask) -> None:
        world = self.worlds[task.key]
        agent_id = self.agents[task.key, task.agent_name]
        with self.lock:
            if self.slots[agent_id] >= self.limits[agent_id]:
                self.queue.put(task)  # the broker keeps it until the agent has a slot
                return
            self.slots[agent_id] += 1
        try:
            started = world.try_to_start(task.id, agent_id=agent_id, cap=self.cap)
            if isinstance(started, HeldBack):
                self.let_go()
            elif started is not None:
                self.end(world, started)
            elif world.task(task.id).status is TaskStatus.QUEUED:
                self.queue.put(task)
        finally:
            with self.lock:
                self.slots[agent_id] -= 1

    def end(self, world: World, started: StartedTask) -> None:
        with world.database.system_session("a test counts") as session:
            counted = session.scalars(
                select(func.count(Task.id)).where(Task.user_id == self.user_id, Task.status == TaskStatus.RUNNING)
            ).one()
        with self.lock:
            self.most_working = max(self.most_working, counted)
        settled = world.ledger(cap=self.cap).complete(started, "done", USAGE)
        assert settled is not None
        self.done.append(started.id)
        if settled.next_task:
            self.send([settled.next_task])
        if settled.crowded:
            self.let_go()


@pytest.mark.parametrize(("cap", "workers"), [(1, 8), (2, 10), (3, 12), (6, 16)])
def test_under_any_race_of_starts_ends_and_accepts_the_cap_holds_and_nothing_waits_for_ever(
    database: Database, cap: int, workers: int
) -> None:
    """Nobody sweeps here: what an end does not let go would stay."""
    first = make_world(database)
    worlds = [first, first.project()]
    hammer = Hammer(worlds, cap)
    for world in worlds:
        hammer.agents[world.key, "helper"] = world.agent_id
        hammer.limits[world.agent_id] = 3
        for name, limit in (("narrow", 1), ("wide", 8)):
            hammer.agents[world.key, name] = made = world.agent(name, concurrency_limit=limit)
            hammer.limits[made] = limit
    sessions = [(world, world.session()) for world in worlds for _ in range(7)]
    threads = [threading.Thread(target=hammer.work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    wanted = [(world, session, agent) for agent in ("wide", "narrow", "helper", "wide") for world, session in sessions]
    try:
        accepts = [partial(hammer.accept, *each) for each in wanted]
        for begin in range(0, len(accepts), 7):
            results = together(accepts[begin : begin + 7])
            assert not any(isinstance(result, Exception) for result in results), results
        eventually(lambda: hammer.mistakes or len(hammer.done) == len(wanted), "every task is done", within=60)
    finally:
        for _ in threads:
            hammer.queue.put(None)
        for thread in threads:
            thread.join(30)
    assert hammer.mistakes == []
    with database.system_session("a test looks") as session:
        left = session.execute(
            select(Task.status, Task.held_reason, Task.agent_name).where(Task.status != TaskStatus.COMPLETED)
        ).all()
        ended: dict[UUID, list[UUID]] = defaultdict(list)
        for task_id, session_id in session.execute(
            select(Task.id, Task.session_id).join(Run, Run.id == Task.run_id).order_by(Run.finished_at)
        ):
            ended[session_id].append(task_id)
    assert left == []
    assert len(hammer.done) == len(set(hammer.done)) == len(wanted)
    assert hammer.most_working <= cap
    assert all(tasks == sorted(tasks) for tasks in ended.values()), "each session in its order"
