"""Requests to hosts over RabbitMQ: the way there, and queues and connections that go."""

from collections.abc import Iterator

import pytest

from models.tenancy import Database
from tests.integration.core.world import World
from tests.integration.memory.asker import Asker, asker_of
from tests.integration.rabbitmq.system import OwnNode, System
from tests.support.memories import memory
from tests.support.waiting import eventually
from workspace.errors import MemoryUnavailable
from workspace.request_queue import MOST_WAITING

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def asker(system: System, database: Database) -> Iterator[Asker]:
    with asker_of(system.settings(), database) as asker:
        yield asker


def answered(asker: Asker, world: World) -> bool:
    try:
        return asker.memory(world).count() == 1
    except MemoryUnavailable:
        return False


def test_what_was_remembered_is_found_and_can_be_carried_away(asker: Asker, node: OwnNode) -> None:
    mine = asker.memory(asker.world())
    mine.remember([memory(n, text=f"{n} {'a long text, ' * 1_000}") for n in range(60)])
    assert mine.search("7 a long text", token_budget=100_000)
    lines = list(mine.export())
    assert asker.memory(asker.world()).restore(lines).stored == len(lines) == 60
    assert asker.replies() == []


def test_a_queue_that_was_deleted_while_it_was_consumed_is_there_again(
    asker: Asker, system: System, node: OwnNode
) -> None:
    world = asker.world()
    asker.memory(world).remember([memory()])
    system.rabbitmq.control("delete_queue", world.key.requests_queue)
    eventually(lambda: answered(asker, world), "an answer")


def test_a_queue_that_the_broker_forgot_is_declared_anew(asker: Asker, system: System) -> None:
    """As it does a minute after the host let it go, although this connection has declared it."""
    world = asker.world()
    for _ in range(2):
        assert asker.queue.put(world.key, b"{}", seconds=60)
        eventually(lambda: system.rabbitmq.queues().get(world.key.requests_queue) == 1, "the request on its queue")
        system.rabbitmq.control("delete_queue", world.key.requests_queue)


def test_lost_connections_cost_no_more_than_a_request(asker: Asker, system: System, node: OwnNode) -> None:
    world = asker.world()
    asker.memory(world).remember([memory()])
    system.rabbitmq.lose_connections()
    eventually(lambda: answered(asker, world), "an answer", within=40)


def test_what_nobody_takes_does_not_pile_up(asker: Asker, system: System, node: OwnNode) -> None:
    world = asker.world()
    for _ in range(MOST_WAITING + 10):
        assert asker.queue.put(world.key, b"{}", seconds=60)
    eventually(lambda: system.rabbitmq.queues()[world.key.requests_queue] == MOST_WAITING, "the oldest to be dropped")
    assert asker.memory(world).count() == 0
    eventually(lambda: system.rabbitmq.queues()[world.key.requests_queue] == 0, "all to be taken")


def test_a_request_that_nobody_took_in_its_time_is_forgotten(asker: Asker, system: System, node: OwnNode) -> None:
    world = asker.world()
    assert asker.queue.put(world.key, b"{}", seconds=0.2)
    eventually(lambda: system.rabbitmq.queues().get(world.key.requests_queue) == 0, "the request to be forgotten")
