"""The broker is never allowed to hand out more of an agent's tasks than the agent's limit leaves room for."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.attached_agent import AttachedAgent, Refusal, Slot
from workspace.agent_config import MAX_CONCURRENCY
from workspace.errors import AgentDeleted, Cancelled, WorkerShutdown
from workspace.interruptible import Interrupted
from workspace.names import WorkspaceKey

KEY = WorkspaceKey(uuid4(), uuid4())
AGENT = uuid4()


class ConnectionLost(Exception):
    """What the transport raises when the broker is away."""


class Channel:
    """A channel of kombu: it has a prefetch count, and it is open or closed."""

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.prefetch = 0
        self.is_open = True
        self.callbacks: dict[str, Any] = {}
        self.cancel_callbacks: dict[str, Callable[[str], None]] = {}

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool) -> None:
        self.connection.check()
        self.prefetch = prefetch_count

    def close(self) -> None:
        self.is_open = False


class Consumer:
    """A consumer of one queue."""

    def __init__(self, channel: Channel, queues: list[Any], on_decode_error: Any) -> None:
        self.channel = channel
        (self.queue,) = queues
        self.on_message: Any = None
        self.consuming = False
        self.qos_changes = 0

    def consume(self) -> None:
        assert self.on_message is not None
        self.channel.connection.demand(self.channel.prefetch > 0, "a prefetch count of 0 is no limit at all")
        self.consuming = True
        self.channel.callbacks["a tag"] = self.on_message
        self.channel.connection.consumers.append(self)

    def qos(self, prefetch_count: int) -> None:
        self.channel.connection.check()
        connection = self.channel.connection
        connection.demand(prefetch_count > 0, "a prefetch count of 0 is no limit at all")
        connection.demand(connection.transport.driver_type == "redis", "AMQP takes it for new consumers only")
        connection.demand(self.channel.is_open, "the channel is closed")
        self.channel.prefetch = prefetch_count
        self.qos_changes += 1

    def cancel(self) -> None:
        self.consuming = False
        self.channel.connection.check()


class Connection:
    """A connection to the broker."""

    connection_errors = (ConnectionLost,)

    def __init__(self, driver: str) -> None:
        self.transport = type("Transport", (), {"driver_type": driver})
        self.connection = type("Socket", (), {"channel_max": 2_047})
        self.consumers: list[Consumer] = []
        self.is_alive = True
        self.mistakes: list[str] = []
        """Kept for the test: what is raised here may be caught."""

    def demand(self, is_right: bool, what: str) -> None:
        if not is_right:
            self.mistakes.append(what)

    def check(self) -> None:
        if not self.is_alive:
            raise ConnectionLost

    def channel(self) -> Channel:
        self.check()
        return Channel(self)


class Worker:
    """Celery's consumer: what `AgentQueues` uses of it. `turn` is a turn of its event loop."""

    connection_errors = (ConnectionLost,)
    channel_errors = ()

    def __init__(self, driver: str = "redis") -> None:
        self.connection = Connection(driver)
        self.app = type("App", (), {"amqp": type("Amqp", (), {"TaskConsumer": Consumer})})
        self._soon: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
        self._soon.append((call, arguments))

    def create_task_handler(self) -> Callable[..., None]:
        return lambda *_: None

    def on_decode_error(self, *_: Any) -> None: ...

    def turn(self) -> None:
        while self._soon:
            call, arguments = self._soon.pop(0)
            call(*arguments)

    def consumers(self) -> list[Consumer]:
        assert self.connection.mistakes == []
        return [one for one in self.connection.consumers if one.consuming and one.channel.is_open]

    @property
    def prefetch(self) -> int | None:
        """The prefetch count of the agent's only consumer; `None` if there is none."""
        consumers = self.consumers()
        assert len(consumers) <= 1, "two consumers of one queue"
        return consumers[0].channel.prefetch if consumers else None


class Node:
    """An `AgentQueues` with one agent, on a worker whose connection can be lost."""

    def __init__(self, driver: str = "redis") -> None:
        self.driver = driver
        self.queues = AgentQueues(Admission(slots=1_000))
        self.worker = Worker(driver)
        self.queues.connected(self.worker)

    def limit(self, limit: int) -> None:
        self.queues.attach(KEY, AGENT, "helper", limit)
        self.worker.turn()

    @property
    def agent(self) -> AttachedAgent:
        (agent,) = self.queues.attached()
        return agent

    def enter(self, task_id: UUID | None = None) -> Slot:
        slot = self.queues.enter(self.agent, task_id or uuid4(), "a message")
        assert isinstance(slot, Slot)
        return slot

    def leave(self, slot: Slot) -> None:
        self.queues.leave(slot)
        self.worker.turn()

    def reconnect(self) -> None:
        self.worker.connection.is_alive = False
        self.queues.disconnected()
        self.worker = Worker(self.driver)
        self.queues.connected(self.worker)
        self.worker.turn()


@pytest.fixture(params=["redis", "amqp"])
def node(request: pytest.FixtureRequest) -> Node:
    return Node(request.param)


# -- the prefetch count ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, MAX_CONCURRENCY])
def test_the_prefetch_count_is_the_limit(node: Node, limit: int) -> None:
    node.limit(limit)
    assert node.worker.prefetch == limit
    (consumer,) = node.worker.consumers()
    assert consumer.queue.name == KEY.agent_queue("helper")
    assert consumer.queue.durable


def test_an_agent_attached_while_the_broker_is_away_is_consumed_after_it_came(node: Node) -> None:
    node.queues.disconnected()
    node.limit(2)
    assert node.worker.prefetch is None
    node.worker = Worker(node.driver)
    node.queues.connected(node.worker)
    assert node.worker.prefetch == 2


def test_a_queue_is_consumed_as_long_as_the_agent_has_a_channel(node: Node) -> None:
    assert not node.queues.is_consumed(AGENT)
    node.limit(1)
    assert node.queues.is_consumed(AGENT)
    assert not node.queues.is_consumed(uuid4())
    slot = node.enter()
    node.reconnect()
    assert not node.queues.is_consumed(AGENT), "what runs from before takes the whole limit"
    node.leave(slot)
    assert node.queues.is_consumed(AGENT)
    node.queues.detach(AGENT, None)
    assert not node.queues.is_consumed(AGENT)


def test_work_of_the_present_channel_takes_nothing_of_its_prefetch_count(node: Node) -> None:
    node.limit(3)
    slots = [node.enter() for _ in range(3)]
    assert node.worker.prefetch == 3, "unacknowledged messages count against it on the broker"
    for slot in slots:
        node.leave(slot)
        assert node.worker.prefetch == 3


def test_a_channel_opened_again_has_what_running_work_leaves_and_gets_the_rest_as_that_ends(node: Node) -> None:
    node.limit(3)
    slots = [node.enter() for _ in range(2)]
    node.reconnect()
    assert node.worker.prefetch == 1
    node.leave(slots[0])
    assert node.worker.prefetch == 2
    node.leave(slots[1])
    assert node.worker.prefetch == 3


def test_there_is_no_consumer_while_every_slot_is_taken_from_before(node: Node) -> None:
    node.limit(2)
    slots = [node.enter() for _ in range(2)]
    node.reconnect()
    assert node.worker.prefetch is None
    node.reconnect()
    assert node.worker.prefetch is None
    node.leave(slots[0])
    assert node.worker.prefetch == 1
    node.leave(slots[1])
    assert node.worker.prefetch == 2


def test_work_of_two_earlier_channels_counts(node: Node) -> None:
    node.limit(3)
    first = node.enter()
    node.reconnect()
    node.enter()
    node.reconnect()
    assert node.worker.prefetch == 1
    node.leave(first)
    assert node.worker.prefetch == 2


def test_a_raised_limit_counts_at_once(node: Node) -> None:
    node.limit(1)
    node.enter()
    node.limit(4)
    prefetch = node.worker.prefetch
    assert prefetch == (4 if node.driver == "redis" else 3), "on AMQP the channel is a new one, the first task foreign"
    assert node.agent.limit == 4


def test_a_limit_below_what_still_runs_from_before_opens_nothing(node: Node) -> None:
    node.limit(3)
    slots = [node.enter() for _ in range(3)]
    node.reconnect()
    node.limit(1)
    assert node.worker.prefetch is None
    node.leave(slots[0])
    node.leave(slots[1])
    assert node.worker.prefetch is None
    node.leave(slots[2])
    assert node.worker.prefetch == 1


@pytest.mark.parametrize("running", [0, 1, 2, 3, 4])
def test_a_lowered_limit_counts_at_once(node: Node, running: int) -> None:
    node.limit(4)
    slots = [node.enter() for _ in range(running)]
    node.limit(2)
    foreign = sum(slot.generation != node.agent.generation for slot in slots)
    assert node.worker.prefetch == (2 - foreign if foreign < 2 else None)
    for slot in slots:
        node.leave(slot)
    assert node.worker.prefetch == 2


def test_the_same_limit_again_changes_nothing(node: Node) -> None:
    node.limit(2)
    (before,) = node.worker.consumers()
    node.limit(2)
    assert node.worker.consumers() == [before]
    assert before.qos_changes == 0


# -- slots -------------------------------------------------------------------------------------------------------


def test_a_slot_is_refused_when_all_are_taken(node: Node) -> None:
    node.limit(2)
    slots = [node.enter() for _ in range(2)]
    assert node.queues.enter(node.agent, uuid4(), "a message") is Refusal.FULL
    node.leave(slots[0])
    assert isinstance(node.queues.enter(node.agent, uuid4(), "a message"), Slot)


def test_a_second_message_of_a_running_task_is_a_duplicate_even_when_all_slots_are_taken(node: Node) -> None:
    node.limit(1)
    task_id = uuid4()
    slot = node.enter(task_id)
    assert node.queues.enter(node.agent, task_id, "a message") is Refusal.DUPLICATE
    node.leave(slot)
    assert isinstance(node.queues.enter(node.agent, task_id, "a message"), Slot)


def test_a_lowered_limit_refuses_until_enough_has_ended(node: Node) -> None:
    node.limit(3)
    slots = [node.enter() for _ in range(3)]
    node.limit(1)
    for slot in slots:
        assert node.queues.enter(node.agent, uuid4(), "a message") is Refusal.FULL
        node.leave(slot)
    node.enter()


def test_many_threads_never_take_more_slots_than_there_are(node: Node) -> None:
    node.limit(5)
    gate = threading.Barrier(30)

    def enter(_: int) -> Slot | Refusal:
        gate.wait(10)
        return node.queues.enter(node.agent, uuid4(), "a message")

    with ThreadPoolExecutor(30) as threads:
        results = list(threads.map(enter, range(30)))
    assert sum(isinstance(result, Slot) for result in results) == 5
    assert results.count(Refusal.FULL) == 25


def test_a_slot_knows_whether_it_is_alone(node: Node) -> None:
    node.limit(2)
    first = node.enter()
    assert first.is_alone()
    second = node.enter()
    assert not first.is_alone()
    node.leave(second)
    assert first.is_alone()


# -- detaching and stopping --------------------------------------------------------------------------------------


def stopped(slot: Slot) -> type | None:
    try:
        slot.stop.check()
    except Interrupted as interrupt:
        return type(interrupt.failure)
    return None


def test_a_detached_agent_is_not_consumed_and_its_work_is_told_to_stop(node: Node) -> None:
    node.limit(2)
    slot = node.enter()
    agent = node.agent
    node.queues.detach(AGENT, AgentDeleted())
    node.worker.turn()
    assert stopped(slot) is AgentDeleted
    assert node.worker.prefetch is None
    assert node.queues.attached() == []
    assert node.queues.find(agent.queue_name) is None
    node.leave(slot)
    assert node.worker.prefetch is None
    node.queues.detach(AGENT, AgentDeleted())


def test_an_agent_attached_again_does_not_get_the_closed_channel(node: Node) -> None:
    node.limit(2)
    node.queues.detach(AGENT, AgentDeleted())
    node.queues.attach(KEY, AGENT, "helper", 3)
    node.worker.turn()
    assert node.worker.prefetch == 3


def test_the_end_of_work_from_before_a_detach_opens_no_second_consumer(node: Node) -> None:
    node.limit(2)
    slot = node.enter()
    node.queues.detach(AGENT, AgentDeleted())
    node.worker.turn()
    node.limit(2)
    node.leave(slot)
    assert node.worker.prefetch == 2


def test_an_agent_that_is_let_go_keeps_its_work_which_counts_when_it_comes_back(node: Node) -> None:
    node.limit(3)
    slots = [node.enter() for _ in range(2)]
    node.queues.detach(AGENT, None)
    node.worker.turn()
    assert [stopped(slot) for slot in slots] == [None, None]
    assert node.worker.prefetch is None
    assert node.queues.running_of(KEY) == 2
    node.limit(3)
    assert node.worker.prefetch == 1
    assert set(node.agent.running) == {slot.task_id for slot in slots}
    third = node.enter()
    assert node.queues.enter(node.agent, uuid4(), "a message") is Refusal.FULL
    node.leave(third)
    node.leave(slots[0])
    assert node.worker.prefetch == 2


def test_an_agent_that_comes_back_after_its_work_ended_has_its_whole_limit(node: Node) -> None:
    node.limit(2)
    slot = node.enter()
    node.queues.detach(AGENT, None)
    node.worker.turn()
    node.leave(slot)
    assert node.queues.running_of(KEY) == 0
    node.limit(2)
    assert node.worker.prefetch == 2


def test_a_workspace_is_stopped_with_what_its_detached_agents_do(node: Node) -> None:
    node.limit(2)
    detached = node.enter()
    node.queues.detach(AGENT, None)
    other = WorkspaceKey(KEY.user_id, uuid4())
    node.queues.attach(other, uuid4(), "other", 2)
    (stranger,) = node.queues.attached()
    elsewhere = node.queues.enter(stranger, uuid4(), "a message")
    assert isinstance(elsewhere, Slot)
    node.queues.stop_workspace(KEY, Cancelled())
    assert (stopped(detached), stopped(elsewhere)) == (Cancelled, None)
    assert (node.queues.running_of(KEY), node.queues.running_of(other)) == (1, 1)


def test_idle_are_agents_without_work_that_were_not_used_for_long(node: Node) -> None:
    node.limit(2)
    assert node.queues.idle(0) == [node.agent]
    assert node.queues.idle(60) == []
    slot = node.enter()
    assert node.queues.idle(0) == []
    node.leave(slot)
    assert node.queues.idle(60) == [], "the end of its work is a use"
    node.agent.delivered = 1
    assert node.queues.idle(0) == [], "it has a message in hand"


def test_tasks_are_stopped_by_name_in_their_own_workspace_alone(node: Node) -> None:
    node.limit(2)
    first, second = node.enter(), node.enter()
    node.queues.stop_tasks(WorkspaceKey(KEY.user_id, uuid4()), [first.task_id], Cancelled())
    assert stopped(first) is None
    node.queues.stop_tasks(KEY, [first.task_id, uuid4()], Cancelled())
    assert (stopped(first), stopped(second)) == (Cancelled, None)
    node.queues.stop_all(WorkerShutdown())
    assert (stopped(first), stopped(second)) == (Cancelled, WorkerShutdown), "the first reason stays"


def test_a_node_that_stops_consumes_nothing_more_and_lets_work_end(node: Node) -> None:
    node.limit(2)
    slot = node.enter()
    worker = node.worker
    node.queues.disconnected()
    assert worker.prefetch is None
    assert stopped(slot) is None
    node.queues.leave(slot)
    node.queues.attach(KEY, AGENT, "helper", 5)
    worker.turn()
    assert worker.prefetch is None


def test_a_lost_connection_surfaces_to_the_workers_loop(node: Node) -> None:
    node.queues.attach(KEY, AGENT, "helper", 2)
    node.worker.connection.is_alive = False
    with pytest.raises(ConnectionLost):
        node.worker.turn()
    node.reconnect()
    assert node.worker.prefetch == 2


# -- any sequence of all this ------------------------------------------------------------------------------------

LIMITS = st.integers(1, 5)


class AnySequence(RuleBasedStateMachine):
    """The broker hands out what the prefetch count lets it; nodes lose it, people change limits, tasks end."""

    slots = Bundle("slots")
    driver = "redis"

    def __init__(self) -> None:
        super().__init__()
        self.node = Node(self.driver)
        self.limit = 0
        self.running: dict[UUID, Slot] = {}
        self.delivered: dict[UUID, Channel] = {}
        """Which channel handed a message out: it counts there until it is acknowledged."""

    def _attach(self, limit: int) -> None:
        self.limit = limit
        self.node.queues.attach(KEY, AGENT, "helper", limit)

    @rule(limit=LIMITS)
    def attach(self, limit: int) -> None:
        self._attach(limit)
        self.node.worker.turn()

    @rule(limit=LIMITS)
    def attach_before_the_loop_comes_to_it(self, limit: int) -> None:
        self._attach(limit)

    @rule()
    def turn_of_the_loop(self) -> None:
        self.node.worker.turn()

    @rule()
    def reconnect(self) -> None:
        self.node.reconnect()

    @rule()
    def detach(self) -> None:
        if self.limit:
            self.node.queues.detach(AGENT, AgentDeleted())
            self.node.worker.turn()
            self.limit = 0
            # What runs was told to stop, and does.
            for slot in self.running.values():
                del self.delivered[slot.task_id]
                self.node.leave(slot)
            self.running.clear()

    @rule()
    def let_go(self) -> None:
        """It is attached again later, while its work goes on."""
        if self.limit:
            self.node.queues.detach(AGENT, None)
            self.node.worker.turn()
            self.limit = 0

    @rule(target=slots)
    def deliver(self) -> Slot | None:
        """A message comes, if the broker may send one on the present channel."""
        consumers = self.node.worker.consumers()
        if not self.limit or not consumers:
            return None
        (channel,) = (one.channel for one in consumers)
        unacknowledged = sum(one is channel for one in self.delivered.values())
        if unacknowledged >= channel.prefetch:
            return None
        slot = self.node.queues.enter(self.node.agent, uuid4(), "a message")
        if not isinstance(slot, Slot):
            # Sent back: a limit that was lowered may not have reached the channel yet.
            assert slot is Refusal.FULL
            assert len(self.running) >= self.limit
            return None
        assert len(self.running) < self.limit, "one more than the limit"
        self.running[slot.task_id] = slot
        self.delivered[slot.task_id] = channel
        return slot

    @rule(slot=slots)
    def end(self, slot: Slot | None) -> None:
        if slot is not None and slot.task_id in self.delivered:
            del self.delivered[slot.task_id]
            self.running.pop(slot.task_id, None)
            self.node.leave(slot)

    @invariant()
    def the_running_set_is_what_runs(self) -> None:
        if self.limit:
            assert set(self.node.agent.running) == set(self.running)

    @invariant()
    def the_broker_is_not_allowed_too_much(self) -> None:
        """After the loop has had its turn, what may come and what came by other channels fit the limit."""
        if self.node.worker._soon:
            return
        prefetch = self.node.worker.prefetch
        if not self.limit:
            assert prefetch is None
            return
        present = {id(one.channel) for one in self.node.worker.consumers()}
        foreign = sum(id(self.delivered[task_id]) not in present for task_id in self.running)
        assert prefetch is None or prefetch <= self.limit - foreign
        if foreign < self.limit:
            assert prefetch == self.limit - foreign, "slots stay empty"


class AnySequenceOnAmqp(AnySequence):
    """The same on a broker that takes no new prefetch count for a running consumer."""

    driver = "amqp"


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)
TestAnySequenceOnAmqp = AnySequenceOnAmqp.TestCase
TestAnySequenceOnAmqp.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)
