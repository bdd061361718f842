"""Agents that are let go and come back, or whose name another one takes: each queue keeps its one right consumer."""

from uuid import uuid4

import pytest

from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.attached_agent import AttachedAgent, Refusal, Slot
from tests.unit.tasks.test_agent_queues import AGENT, KEY, Worker
from workspace.errors import AgentDeleted

QUEUE = KEY.agent_queue("helper")


class Node:
    """An `AgentQueues` on a worker whose connection can be lost."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self.queues = AgentQueues(Admission(slots=100))
        self.connect()

    def attach(self, limit: int = 2) -> AttachedAgent:
        self.queues.attach(KEY, AGENT, "helper", limit)
        self.worker.turn()
        agent = self.queues.find(QUEUE)
        assert agent is not None
        return agent

    def enter(self, agent: AttachedAgent) -> Slot:
        slot = self.queues.enter(agent, uuid4(), "a message")
        assert isinstance(slot, Slot)
        return slot

    def disconnect(self) -> None:
        self.worker.connection.is_alive = False
        self.queues.disconnected()

    def connect(self) -> None:
        self.worker = Worker(self._driver)
        self.queues.connected(self.worker)
        self.worker.turn()


@pytest.fixture(params=["redis", "amqp"])
def node(request: pytest.FixtureRequest) -> Node:
    return Node(request.param)


def test_the_end_of_a_deleted_agent_leaves_its_queue_to_a_new_one_of_its_name(node: Node) -> None:
    node.attach()
    heir = uuid4()
    node.queues.attach(KEY, heir, "helper", 3)  # the hint that the old one is gone was lost
    node.queues.detach(AGENT, AgentDeleted())
    node.worker.turn()
    found = node.queues.find(QUEUE)
    assert found is not None
    assert found.agent_id == heir
    assert node.worker.prefetch == 3


def test_an_agent_let_go_while_the_broker_was_away_is_consumed_when_it_comes_back(node: Node) -> None:
    slot = node.enter(node.attach())
    node.disconnect()
    node.queues.detach(AGENT, None)
    node.connect()
    assert node.worker.consumers() == []
    node.attach()
    assert node.worker.prefetch == 1, "one slot is taken by what still runs"
    node.queues.leave(slot)
    node.worker.turn()
    assert node.worker.prefetch == 2


def test_a_task_that_comes_for_an_agent_just_let_go_gets_no_slot(node: Node) -> None:
    agent = node.attach()
    node.queues.detach(AGENT, None)
    assert node.queues.enter(agent, uuid4(), "a message") is Refusal.DETACHED
    assert node.queues.running() == set()
    assert node.queues.running_of(KEY) == 0
