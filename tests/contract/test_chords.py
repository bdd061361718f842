"""What plans rely on of Celery's chords, which is no promise of theirs: it is why Celery is pinned.

A counter is made by `set_chord_size` alone, without the rest of a chord. Parts count by their task id and their index,
each once, also where results are ignored; the last one sends the body, once. Nothing of it stays for ever.
"""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import celery
import pytest
import redis
from celery import Celery
from celery.app.task import Context

from orchestrator.chords import Chords
from tests.support.stack import Stack
from workspace.agent_bus import AgentBus, agent_queue
from workspace.ledger import QueuedTask
from workspace.names import ORCHESTRATOR, TaskName, WorkspaceKey
from workspace.plans.edges import Arrival, FollowUps, Join

pytestmark = pytest.mark.stack

OWN_BROKER, OWN_RESULTS = 12, 13
"""The stack itself uses the first four databases of its Redis."""


def numbered(stack: Stack, number: int) -> str:
    return urlunsplit(urlsplit(stack.redis_url)._replace(path=f"/{number}"))


@pytest.fixture
def app(stack: Stack) -> Iterator[Celery]:
    made = Celery("chords", set_as_current=False)
    made.config_from_object("celeryconfig")
    made.conf.broker_url = numbered(stack, OWN_BROKER)
    made.conf.result_backend = numbered(stack, OWN_RESULTS)
    yield made
    for number in (OWN_BROKER, OWN_RESULTS):
        with redis.Redis.from_url(numbered(stack, number)) as client:
            client.flushdb()
    made.close()


@pytest.fixture
def results(stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(numbered(stack, OWN_RESULTS)) as client:
        client.flushdb()
        yield client


KEY = WorkspaceKey(uuid4(), uuid4())


def a_join(size: int) -> tuple[Join, list[Arrival]]:
    run = uuid4()
    task = QueuedTask(uuid4(), KEY, "writer", uuid4())
    parts = [
        Arrival(key=KEY, run_id=run, dependency=f"t{index}", dependent="join", task=task, index=index, size=size)
        for index in range(size)
    ]
    return Join(run, "join", size), parts


def chords(app: Celery, needed: Any = lambda *_: None) -> Chords:
    return Chords(app, AgentBus(app), needed=needed)


def taken(app: Celery, queue: str) -> list[Any]:
    """Take every message from a queue."""
    found = []
    with app.connection_for_read() as connection:
        waiting = agent_queue(queue)(connection.default_channel)
        while (message := waiting.get(no_ack=True)) is not None:
            found.append(message)
    return found


def count(app: Celery, message: Any) -> None:
    """Do what a worker does with a part when it has ended; results are ignored."""
    headers = message.headers
    request = Context(
        id=headers["id"],
        group=headers["group"],
        group_index=headers["group_index"],
        chord=message.payload[2]["chord"],
    )
    app.backend.mark_as_done(headers["id"], None, request=request, store_result=False)


def arrive(app: Celery, edges: Chords, *parts: Arrival) -> None:
    """Send parts, and do what a worker does with them."""
    edges.send(FollowUps(arrivals=list(parts)))
    for message in taken(app, "control"):
        count(app, message)


def bodies(app: Celery, task: QueuedTask) -> list[Any]:
    return taken(app, task.key.agent_queue(task.agent_name))


def test_celery_is_the_one_that_this_was_found_with() -> None:
    assert celery.__version__.startswith("5.7.")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_body_is_sent_once_with_the_last_part_in_any_order(
    app: Celery, results: redis.Redis, order: tuple[int, ...]
) -> None:
    join, parts = a_join(3)
    chords(app).open([join])
    for index in order[:-1]:
        chords(app).send(FollowUps(arrivals=[parts[index]]))
    for message in taken(app, "control"):
        count(app, message)
    assert bodies(app, parts[0].task) == []
    chords(app).send(FollowUps(arrivals=[parts[order[-1]]]))
    for message in taken(app, "control"):
        count(app, message)
    (body,) = bodies(app, parts[0].task)
    assert body.headers["task"] == TaskName.RUN_AGENT_TASK
    assert list(body.payload[0]) == [str(parts[0].task.id)]


def test_a_part_that_comes_twice_counts_once(app: Celery, results: redis.Redis) -> None:
    join, parts = a_join(2)
    chords(app).open([join])
    chords(app).send(FollowUps(arrivals=[parts[0]]))
    chords(app).send(FollowUps(arrivals=[parts[0]]))
    for message in taken(app, "control"):
        count(app, message)
    assert bodies(app, parts[0].task) == []
    chords(app).send(FollowUps(arrivals=[parts[1], parts[1], parts[0]]))
    for message in taken(app, "control"):
        count(app, message)
    assert len(bodies(app, parts[0].task)) == 1


def test_a_counter_that_was_lost_is_made_anew_with_parts_that_are_sent_again(app: Celery, results: redis.Redis) -> None:
    join, parts = a_join(2)
    edges = chords(app)
    edges.open([join])
    arrive(app, edges, parts[0])
    assert edges.lost([join]) == []
    results.flushdb()
    arrive(app, edges, parts[1])
    assert list(edges.lost([join])) == [join]
    edges.open([join])
    arrive(app, edges, parts[0])
    assert len(bodies(app, parts[0].task)) == 1


def test_to_open_a_chord_again_loses_no_part(app: Celery, results: redis.Redis) -> None:
    join, parts = a_join(2)
    edges = chords(app)
    edges.open([join])
    arrive(app, edges, parts[0])
    edges.open([join])
    arrive(app, edges, parts[1])
    assert len(bodies(app, parts[0].task)) == 1


def test_every_key_of_a_chord_expires_soon(app: Celery, results: redis.Redis) -> None:
    join, parts = a_join(2)
    edges = chords(app)
    edges.open([join])
    arrive(app, edges, parts[0])
    lasting = [results.ttl(key) for key in results.keys("*")]
    assert lasting
    assert all(0 < seconds <= 3_600 for seconds in lasting), "those of a plan that was cancelled are left to it"
    arrive(app, edges, parts[1])
    after = [results.ttl(key) for key in results.keys("*")]
    assert all(0 < seconds <= 3_600 for seconds in after), after


def test_the_orchestrators_own_task_can_be_a_body(app: Celery, results: redis.Redis) -> None:
    task = QueuedTask(uuid4(), KEY, ORCHESTRATOR)
    run = uuid4()
    asked: list[tuple[WorkspaceKey, UUID]] = []
    edges = chords(app, lambda *needed: asked.append(needed))
    edges.open([Join(run, "_closing", 1)])
    part = Arrival(key=KEY, run_id=run, dependency="a", dependent="_closing", task=task, index=0, size=1)
    arrive(app, edges, part)
    assert len(bodies(app, task)) == 1
    assert asked == [(KEY, KEY.project_id)]


def test_a_backend_that_does_not_answer_keeps_nobody_from_sending(app: Celery) -> None:
    join, parts = a_join(2)
    app.conf.result_backend = "redis://127.0.0.1:1/0"
    edges = chords(app)
    edges.open([join])
    edges.send(FollowUps(arrivals=parts))
    assert len(taken(app, "control")) == 2


def test_a_broker_that_does_not_answer_raises_nothing(app: Celery) -> None:
    _, parts = a_join(2)
    with patch.object(app, "send_task", side_effect=OSError):
        chords(app).send(FollowUps(queued=[parts[0].task], arrivals=parts))
