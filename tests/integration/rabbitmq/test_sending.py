"""What the web process and the sweeper ask of RabbitMQ, told in the terms of its queues."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from celery import Celery
from kombu import pools

from tasks.sender import web_sender
from tests.integration.rabbitmq.system import System
from workspace.agent_bus import AgentBus, agent_queue
from workspace.broker_queues import BrokerQueues
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack


@pytest.fixture
def key() -> WorkspaceKey:
    return WorkspaceKey(uuid4(), uuid4())


@pytest.fixture
def sender(system: System) -> Iterator[Celery]:
    """The web process's app, without the web process."""
    yield web_sender(system.settings())
    pools.reset()  # kombu keeps them for a process's life


def test_a_length_is_asked_without_making_the_queue_and_an_unknown_one_harms_nothing(
    system: System, sender: Celery, key: WorkspaceKey
) -> None:
    bus, queues = AgentBus(sender), BrokerQueues(sender)
    known, unknown = key.agent_queue("known"), key.agent_queue("unknown")
    for _ in range(3):
        assert bus.send_task_to_agent(key, "known", uuid4())
    assert [queues.length(name) for name in (known, unknown, known, unknown)] == [3, 0, 3, 0]
    assert unknown not in system.rabbitmq.queues()


def test_a_message_for_a_queue_that_was_deleted_meanwhile_is_not_dropped(
    system: System, sender: Celery, key: WorkspaceKey
) -> None:
    bus = AgentBus(sender)
    assert bus.send_task_to_agent(key, "helper", uuid4())
    system.rabbitmq.control("delete_queue", key.agent_queue("helper"))
    assert bus.send_task_to_agent(key, "helper", uuid4())
    assert BrokerQueues(sender).length(key.agent_queue("helper")) == 1


def test_connections_that_the_broker_closed_cost_no_message_and_no_question(
    system: System, sender: Celery, key: WorkspaceKey
) -> None:
    bus, queues = AgentBus(sender), BrokerQueues(sender)
    assert bus.send_task_to_agent(key, "helper", uuid4())
    system.rabbitmq.lose_connections()
    assert bus.send_task_to_agent(key, "helper", uuid4())
    system.rabbitmq.lose_connections()
    assert queues.length(key.agent_queue("helper")) == 2


def test_a_message_that_is_taken_is_one_that_the_broker_has(system: System, sender: Celery, key: WorkspaceKey) -> None:
    """A queue that is full and refuses more: without confirmation the client would take the refused one for sent."""
    name = key.agent_queue("helper")
    system.rabbitmq.control("set_policy", "full", f"^{name}$", '{"max-length": 1, "overflow": "reject-publish"}')
    bus = AgentBus(sender)
    try:
        assert bus.send_task_to_agent(key, "helper", uuid4())
        assert not bus.send_task_to_agent(key, "helper", uuid4())
    finally:
        system.rabbitmq.control("clear_policy", "full")


def test_queues_outlive_a_restart_with_what_is_on_them(system: System, sender: Celery, key: WorkspaceKey) -> None:
    assert AgentBus(sender).send_task_to_agent(key, "helper", uuid4())
    system.rabbitmq.control("stop_app")
    system.rabbitmq.control("start_app")
    assert system.rabbitmq.queues()[key.agent_queue("helper")] == 1
    assert agent_queue("any").durable
