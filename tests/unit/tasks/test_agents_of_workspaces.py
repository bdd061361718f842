"""What a node asks of each workspace costs the same however many it hosts."""

import time
from uuid import UUID, uuid4

from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.attached_agent import Slot
from workspace.errors import WorkerLost
from workspace.names import WorkspaceKey

FEW, MANY = 100, 2_000


def workspaces(count: int) -> tuple[AgentQueues, list[WorkspaceKey]]:
    """A node that hosts so many workspaces of an agent each."""
    queues = AgentQueues(Admission(slots=10))
    keys = [WorkspaceKey(uuid4(), uuid4()) for _ in range(count)]
    for key in keys:
        queues.attach(key, uuid4(), "helper", 1)
    return queues, keys


def cost(count: int) -> float:
    """Seconds of processor time for each workspace to be looked at and told to stop, the least of some."""
    queues, keys = workspaces(count)
    times = []
    for _ in range(3):
        began = time.process_time()
        for key in keys:
            queues.running_of(key)
            queues.attached_to(key)
            queues.stop_workspace(key, WorkerLost())
        times.append(time.process_time() - began)
    return min(times) / count


def test_a_look_at_a_workspace_costs_the_same_among_many() -> None:
    assert cost(MANY) < 5 * cost(FEW)


def test_a_workspace_has_its_attached_agents_and_the_work_of_those_that_were_let_go() -> None:
    queues, (key, other) = workspaces(2)
    (agent,) = queues.attached_to(key)
    slot = queues.enter(agent, uuid4(), "a message")
    assert isinstance(slot, Slot)
    queues.detach(agent.agent_id, None)
    assert (queues.attached_to(key), queues.running_of(key)) == ([], 1)
    assert (len(queues.attached_to(other)), queues.running_of(other)) == (1, 0)
    queues.attach(key, agent.agent_id, "helper", 2)
    assert (queues.attached_to(key), queues.running_of(key)) == ([agent], 1)
    queues.leave(slot)
    assert (queues.attached_to(key), queues.running_of(key)) == ([agent], 0)


def test_nothing_is_kept_of_a_workspace_whose_agents_are_gone() -> None:
    queues, (key,) = workspaces(1)
    (agent,) = queues.attached_to(key)
    slot = queues.enter(agent, UUID(int=1), "a message")
    assert isinstance(slot, Slot)
    queues.detach(agent.agent_id, None)
    queues.leave(slot)
    queues.attach(key, uuid4(), "another", 1)
    queues.detach(queues.attached_to(key)[0].agent_id, None)
    assert queues._of_workspace == {}
