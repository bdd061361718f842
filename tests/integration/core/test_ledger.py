"""A message is accepted once, started once and ended once, whoever tries at the same moment."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from models import utc_now
from models.statuses import HeldReason, MessageRole, RunStatus, TaskStatus
from models.tenancy import Database
from tests.integration.core.world import HOST, World, make_world, together
from workspace.errors import AgentQueueFull, ErrorCode, NotFound
from workspace.events import Failure, Usage
from workspace.intake import Accepted, NewMessage
from workspace.ledger import Host, Settled, StartedTask, release_next
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack

USAGE = Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7, cost_usd=Decimal("0.25"))
FAILURE = Failure(error_code=ErrorCode.MODEL_ERROR, detail="it would not", retryable=True, retry_after=2.5)
AT_WORK = {TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING}


def release(world: World) -> Any:
    with world.database.tenant_session(world.key.user_id) as session:
        released = release_next(session, world.key, world.session_id)
        session.commit()
    return released


# -- accepting ---------------------------------------------------------------------------------------------------


def test_an_accepted_message_is_a_message_a_run_and_a_queued_task(world: World) -> None:
    accepted = world.accept(content="good morning")
    assert accepted.status is TaskStatus.QUEUED
    assert accepted.queue_position == 0
    assert accepted.target.host == HOST
    (message,), (task,), run = world.messages(), world.tasks(), world.run(accepted.run_id)
    assert (message.id, message.role, message.content) == (accepted.message_id, MessageRole.USER, "good morning")
    assert (task.id, task.run_id, task.agent_id, task.agent_name) == (
        accepted.task_id,
        run.id,
        world.agent_id,
        "helper",
    )
    assert (task.status, task.held_reason, task.send_count, task.attempts) == (TaskStatus.QUEUED, None, 1, 0)
    assert task.sent_at is not None
    assert (run.status, run.finished_at, run.announced_at) == (RunStatus.QUEUED, None, None)
    assert {message.user_id, task.user_id, run.user_id} == {world.key.user_id}
    assert {task.project_id, run.project_id} == {world.key.project_id}


def test_a_message_behind_another_one_of_its_session_is_held_and_not_sent(world: World) -> None:
    first, second, third = world.accept(), world.accept(), world.accept()
    assert [one.status for one in (first, second, third)] == [TaskStatus.QUEUED, TaskStatus.HELD, TaskStatus.HELD]
    assert [one.queue_position for one in (first, second, third)] == [0, 1, 2]
    held = world.task(second.task_id)
    assert (held.held_reason, held.sent_at, held.send_count) == (HeldReason.SESSION, None, 0)


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PLANNING])
def test_a_message_is_held_by_any_active_run_of_its_session(world: World, status: RunStatus) -> None:
    first = world.started()
    world.change_run(first.run_id, status=status)
    assert world.accept().status is TaskStatus.HELD
    assert world.accept(world.session()).status is TaskStatus.QUEUED


def test_a_running_task_takes_no_place_on_the_queue(world: World) -> None:
    world.started()
    assert world.accept(world.session()).queue_position == 0


def test_the_position_counts_the_tasks_of_the_one_agent_alone(world: World) -> None:
    world.agent("second")
    for _ in range(3):
        world.accept(world.session())
    assert world.accept(world.session(), agent="second").queue_position == 0
    assert world.accept(world.session()).queue_position == 3


def test_a_workspace_without_a_host_has_none_in_the_answer(world: World) -> None:
    assert world.accept().target.host == HOST
    world.change_workspace(node_id=None)
    assert world.accept().target.host is None


@pytest.mark.parametrize("one_session", [True, False])
def test_the_cap_is_exact_however_many_ask_at_once(world: World, one_session: bool) -> None:
    limit = 7
    intake = world.intake(queue_limit=limit)
    sessions = [world.session_id if one_session else world.session() for _ in range(20)]
    results = together([partial(world.accept, session, intake=intake) for session in sessions])
    accepted = [one for one in results if isinstance(one, Accepted)]
    refused = [one for one in results if isinstance(one, AgentQueueFull)]
    assert len(accepted) == limit, results
    assert len(refused) == len(sessions) - limit, results
    assert sorted(one.queue_position for one in accepted) == list(range(limit))
    assert {one.queued for one in refused} == {limit}
    assert all(one.retry_after for one in refused)
    stored = [task for session in set(sessions) for task in world.tasks(session)]
    assert {task.id for task in stored} == {one.task_id for one in accepted}
    assert sum(len(world.messages(session)) for session in set(sessions)) == limit
    assert Counter(task.status for task in stored)[TaskStatus.QUEUED] == (1 if one_session else limit)


def test_a_place_that_becomes_free_is_given_again(world: World) -> None:
    intake = world.intake(queue_limit=1)
    first = world.accept(intake=intake)
    with pytest.raises(AgentQueueFull):
        world.accept(world.session(), intake=intake)
    world.start(first)
    world.accept(world.session(), intake=intake)


def test_what_is_not_there_is_not_found_and_nothing_is_written(world: World) -> None:
    world.project().agent("only-there")
    stranger = make_world(world.database)
    sibling = world.project()
    stranger.agent("theirs")
    mixed = WorkspaceKey(world.key.user_id, stranger.key.project_id)
    before = world.rows(), stranger.rows()
    intake = world.intake()
    for key, session, agent in (
        (world.key, uuid4(), "helper"),
        (world.key, world.session_id, "nobody"),
        (world.key, world.session_id, "only-there"),
        (world.key, world.session_id, "theirs"),
        (world.key, stranger.session_id, "helper"),
        (world.key, sibling.session_id, "helper"),
        (sibling.key, world.session_id, "helper"),
        (stranger.key, world.session_id, "helper"),
        (mixed, stranger.session_id, "helper"),
        (mixed, world.session_id, "helper"),
    ):
        with pytest.raises(NotFound):
            intake.accept(key, NewMessage(session_id=session, content="hello", agent_name=agent))
    assert (world.rows(), stranger.rows()) == before


# -- starting ----------------------------------------------------------------------------------------------------


def test_exactly_one_of_twenty_starts_wins(world: World) -> None:
    accepted = world.accept()
    results = together(
        [partial(world.ledger().start, accepted.task_id, world.key, world.agent_id, HOST) for _ in range(20)]
    )
    winners = [one for one in results if isinstance(one, StartedTask)]
    assert len(winners) == 1, results
    assert results.count(None) == 19, results
    task, run = world.task(accepted.task_id), world.run(accepted.run_id)
    assert (task.status, task.node_id, task.epoch, task.attempts) == (TaskStatus.RUNNING, *HOST, 1)
    assert run.status is RunStatus.RUNNING
    assert task.started_at == run.started_at == winners[0].started_at


@pytest.mark.parametrize(
    "wrong", ["agent", "other agent", "project", "user", "task", "epoch", "older epoch", "node", "no host"]
)
def test_a_start_that_names_anything_else_starts_nothing(world: World, wrong: str) -> None:
    accepted = world.accept()
    second = world.agent("second")
    sibling, stranger = world.project(), make_world(world.database)
    task_id, key, agent_id, host = accepted.task_id, world.key, world.agent_id, HOST
    match wrong:
        case "agent":
            agent_id = uuid4()
        case "other agent":
            agent_id = second
        case "project":
            key = sibling.key
        case "user":
            key = stranger.key
        case "task":
            task_id = uuid4()
        case "epoch":
            host = Host(HOST.node_id, HOST.epoch + 1)
        case "older epoch":
            world.change_workspace(epoch=HOST.epoch + 1)
        case "node":
            host = Host("another", HOST.epoch)
        case "no host":
            world.change_workspace(node_id=None)
    before = world.rows()
    assert world.ledger().start(task_id, key, agent_id, host) is None
    assert world.rows() == before


@pytest.mark.parametrize("status", sorted(set(TaskStatus) - {TaskStatus.QUEUED}))
def test_only_a_queued_task_starts(world: World, status: TaskStatus) -> None:
    accepted = world.accept()
    world.change_task(accepted.task_id, status=status)
    before = world.rows()
    assert world.ledger().start(accepted.task_id, world.key, world.agent_id, HOST) is None
    assert world.rows() == before


def answered(world: World, content: str, reply: str) -> None:
    world.ledger().complete(world.start(world.accept(content=content)), reply, USAGE)


def test_a_start_brings_the_newest_messages_newest_first_and_none_of_later_runs(world: World) -> None:
    for number in range(3):
        answered(world, f"question {number}", f"answer {number}")
    now = world.accept(content="question 3")
    world.accept(content="question 4")
    elsewhere = world.session()
    world.accept(elsewhere, content="elsewhere")
    started = world.ledger(history_messages=6).start(now.task_id, world.key, world.agent_id, HOST)
    assert isinstance(started, StartedTask)
    assert [(message.role, message.content) for message in started.newest_messages] == [
        (MessageRole.USER, "question 3"),
        (MessageRole.ASSISTANT, "answer 2"),
        (MessageRole.USER, "question 2"),
        (MessageRole.ASSISTANT, "answer 1"),
        (MessageRole.USER, "question 1"),
        (MessageRole.ASSISTANT, "answer 0"),
    ]
    assert (started.run_id, started.session_id, started.agent_name) == (now.run_id, world.session_id, "helper")
    assert (started.host, started.attempt, started.agent_version) == (HOST, 1, 1)


def test_the_message_itself_is_shown_even_when_no_history_is_wanted(world: World) -> None:
    answered(world, "question", "answer")
    accepted = world.accept(content="now")
    started = world.ledger(history_messages=0).start(accepted.task_id, world.key, world.agent_id, HOST)
    assert isinstance(started, StartedTask)
    assert [message.content for message in started.newest_messages] == ["now"]


# -- ending ------------------------------------------------------------------------------------------------------


def test_a_completed_task_leaves_its_reply_its_usage_and_its_run_ended(world: World) -> None:
    task = world.started()
    settled = world.ledger().complete(task, "the answer", USAGE)
    assert settled is not None
    assert settled.next_task is None
    reply = world.messages()[-1]
    assert (reply.id, reply.role, reply.content) == (settled.message_id, MessageRole.ASSISTANT, "the answer")
    assert (reply.run_id, reply.agent_id, reply.agent_name) == (task.run_id, world.agent_id, "helper")
    row, run = world.task(task.id), world.run(task.run_id)
    assert (row.status, run.status) == (TaskStatus.COMPLETED, RunStatus.COMPLETED)
    assert row.usage == run.usage == USAGE.model_dump(mode="json")
    assert row.error is run.error is None
    assert row.finished_at == run.finished_at is not None
    assert run.announced_at is None


def test_a_failed_task_leaves_its_reason_and_no_reply(world: World) -> None:
    task = world.started()
    settled = world.ledger().fail(task, FAILURE, USAGE)
    assert settled == Settled(None, None, crowded=False)
    row, run = world.task(task.id), world.run(task.run_id)
    assert (row.status, run.status) == (TaskStatus.FAILED, RunStatus.FAILED)
    assert row.error == run.error == FAILURE.model_dump(mode="json")
    assert row.usage == run.usage == USAGE.model_dump(mode="json")
    assert row.finished_at == run.finished_at is not None
    assert len(world.messages()) == 1


@pytest.mark.parametrize("text", ["so far", ""])
def test_a_cancelled_task_keeps_what_was_written_and_its_reason(world: World, text: str) -> None:
    task = world.started()
    settled = world.ledger().cancel(task, FAILURE, USAGE, text=text)
    assert settled is not None
    row, run = world.task(task.id), world.run(task.run_id)
    assert (row.status, run.status) == (TaskStatus.CANCELLED, RunStatus.CANCELLED)
    assert row.error == run.error == FAILURE.model_dump(mode="json")
    assert row.finished_at == run.finished_at is not None
    replies = [message for message in world.messages() if message.role is MessageRole.ASSISTANT]
    assert [(reply.id, reply.content) for reply in replies] == ([(settled.message_id, text)] if text else [])


End = Callable[[World, StartedTask], object]
ENDS: dict[str, End] = {
    "complete": lambda world, task: world.ledger().complete(task, "the answer", USAGE),
    "fail": lambda world, task: world.ledger().fail(task, FAILURE, USAGE),
    "cancel": lambda world, task: world.ledger().cancel(task, FAILURE, USAGE, text="so far"),
    "requeue": lambda world, task: world.ledger().requeue(task) or None,
}
every_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())


@every_end
@pytest.mark.parametrize("other", ENDS.values(), ids=[f"after {name}" for name in ENDS])
def test_a_task_ends_once(world: World, end: End, other: End) -> None:
    task = world.started()
    waiting = world.accept()
    assert other(world, task) is not None
    before = world.rows()
    assert end(world, task) is None
    assert world.rows() == before
    assert world.task(waiting.task_id).status in {TaskStatus.HELD, TaskStatus.QUEUED}


@every_end
def test_of_twenty_ends_at_once_one_is_written(world: World, end: End) -> None:
    task = world.started()
    results = together([partial(end, world, task) for _ in range(20)])
    assert sum(one is not None for one in results) == 1, results
    assert len(world.messages()) == (2 if end in {ENDS["complete"], ENDS["cancel"]} else 1)


@every_end
@pytest.mark.parametrize("lost", ["epoch", "node", "released", "task epoch", "task node", "task status", "user"])
def test_a_node_that_lost_the_task_writes_nothing(world: World, end: End, lost: str) -> None:
    task = world.started()
    world.accept()
    match lost:
        case "epoch":
            world.change_workspace(epoch=2)
        case "node":
            world.change_workspace(node_id="another")
        case "released":
            world.change_workspace(node_id=None)
        case "task epoch":
            world.change_task(task.id, epoch=2)
        case "task node":
            world.change_task(task.id, node_id="another")
        case "task status":
            world.change_task(task.id, status=TaskStatus.CANCELLED)
        case "user":
            stranger = make_world(world.database)
            task = StartedTask(**{**vars(task), "key": stranger.key})
    before = world.rows()
    assert end(world, task) is None
    assert world.rows() == before


def test_a_run_that_was_ended_by_another_stays_as_it_is(world: World) -> None:
    task = world.started()
    world.change_run(task.run_id, status=RunStatus.CANCELLED, finished_at=utc_now(), error={"why": "cancelled"})
    world.ledger().complete(task, "the answer", USAGE)
    run = world.run(task.run_id)
    assert (run.status, run.error) == (RunStatus.CANCELLED, {"why": "cancelled"})


def test_a_requeued_task_is_unsent_and_starts_again_as_the_next_attempt(world: World) -> None:
    accepted = world.accept()
    for attempt in (1, 2, 3):
        host = Host("node", attempt)
        world.change_workspace(epoch=attempt)
        task = world.start(accepted, host)
        assert task.attempt == world.task(task.id).attempts == attempt
        assert world.ledger().requeue(task)
        row = world.task(task.id)
        assert (row.status, row.sent_at, row.node_id, row.epoch) == (TaskStatus.QUEUED, None, None, None)
    assert world.run(accepted.run_id).finished_at is None
    assert world.accept().status is TaskStatus.HELD
    assert world.ledger().complete(world.start(accepted, Host("node", 3)), "at last", USAGE)


def test_a_task_whose_end_was_asked_for_does_not_go_back_to_its_queue(world: World) -> None:
    task = world.started()
    world.change_run(task.run_id, cancel_requested_at=utc_now())
    before = world.rows()
    assert not world.ledger().requeue(task)
    assert world.rows() == before
    assert world.ledger().cancel(task, FAILURE, USAGE, text="so far")


# -- the next one of the session ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_an_end_releases_the_oldest_held_task_of_its_session_and_no_other(world: World, end: str) -> None:
    first = world.started()
    second, third = world.accept(), world.accept()
    elsewhere = world.session()
    world.started(elsewhere)
    there = world.accept(elsewhere)
    settled: Any = ENDS[end](world, first)
    assert (settled.next_task.id, settled.next_task.key, settled.next_task.agent_name) == (
        second.task_id,
        world.key,
        "helper",
    )
    row = world.task(second.task_id)
    assert (row.status, row.held_reason, row.send_count) == (TaskStatus.QUEUED, None, 1)
    assert row.sent_at is not None
    assert {world.task(one.task_id).status for one in (third, there)} == {TaskStatus.HELD}


@pytest.mark.parametrize("status", sorted(AT_WORK))
def test_nothing_is_released_while_another_of_the_session_is_at_work(world: World, status: TaskStatus) -> None:
    first = world.accept()
    second = world.accept()
    world.change_task(first.task_id, status=status)
    assert release(world) is None
    assert world.task(second.task_id).status is TaskStatus.HELD
    world.change_task(first.task_id, status=TaskStatus.CANCELLED)
    assert release(world).id == second.task_id
    assert release(world) is None


def test_a_task_that_the_users_cap_holds_is_not_released_by_its_session(world: World) -> None:
    accepted = world.accept()
    world.change_task(accepted.task_id, status=TaskStatus.HELD, held_reason=HeldReason.USER_CAP)
    assert release(world) is None


def test_of_twenty_releases_at_once_one_is_done(world: World) -> None:
    first = world.accept()
    for _ in range(5):
        world.accept()
    world.change_task(first.task_id, status=TaskStatus.CANCELLED)
    results = together([partial(release, world) for _ in range(20)])
    assert sum(one is not None for one in results) == 1, results
    assert Counter(task.status for task in world.tasks())[TaskStatus.QUEUED] == 1


def test_a_release_that_waits_for_another_ones_commit_releases_nothing(world: World) -> None:
    first, second = world.accept(), world.accept()
    world.change_task(first.task_id, status=TaskStatus.CANCELLED)
    with (
        ThreadPoolExecutor(1) as threads,
        world.database.tenant_session(world.key.user_id) as session,
    ):
        assert release_next(session, world.key, world.session_id) is not None
        waiting = threads.submit(release, world)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        session.commit()
        assert waiting.result(10) is None
    assert world.task(second.task_id).send_count == 1


@pytest.mark.parametrize("newcomers", [1, 3])
def test_a_message_that_comes_while_the_one_before_ends_never_stays_held(world: World, newcomers: int) -> None:
    """The accept sees the run active and holds, or the end sees the task held and releases it: never neither."""
    chance = random.Random(7)
    seen: Counter[str] = Counter()
    for number in range(200 if newcomers == 1 else 60):
        session = world.session()
        task = world.started(session)
        delay = chance.uniform(-0.003, 0.003)
        end = partial(_late, delay, partial(world.ledger().complete, task, "done", USAGE))
        sends = [partial(_late, -delay, partial(world.accept, session)) for _ in range(newcomers)]
        settled, *accepted = together([end, *sends])
        assert isinstance(settled, Settled), settled
        statuses = Counter(task.status for task in world.tasks(session))
        assert statuses[TaskStatus.QUEUED] == 1, (number, statuses, settled, accepted)
        assert statuses[TaskStatus.HELD] == newcomers - 1
        seen["released" if settled.next_task else "accepted at once"] += 1
    assert len(seen) == 2, f"the race was not one: {seen}"


def _late(delay: float, call: Callable[[], Any]) -> Any:
    if delay > 0:
        time.sleep(delay)
    return call()


def test_nothing_of_one_user_reaches_another(world: World, database: Database) -> None:
    stranger = make_world(database)
    theirs = stranger.started()
    stranger.accept()
    before = stranger.rows()
    mine = world.started()
    world.accept()
    world.ledger().complete(mine, "mine", USAGE)
    with database.tenant_session(world.key.user_id) as session:
        assert release_next(session, world.key, stranger.session_id) is None
        session.commit()
    assert stranger.rows() == before
    assert stranger.task(theirs.id).status is TaskStatus.RUNNING
