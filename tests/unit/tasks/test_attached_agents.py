"""How many agents of one user a node keeps attached: those beyond are let go, the longest idle ones first."""

from uuid import UUID, uuid4

from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.attached_agent import Slot
from workspace.names import WorkspaceKey

MOST = 3


def attach(queues: AgentQueues, user_id: UUID, name: str) -> UUID:
    agent_id = uuid4()
    queues.attach(WorkspaceKey(user_id, uuid4()), agent_id, name, 2)
    return agent_id


def attached(queues: AgentQueues) -> set[UUID]:
    return {agent.agent_id for agent in queues.attached()}


def busy(queues: AgentQueues, agent_id: UUID) -> Slot:
    (agent,) = [each for each in queues.attached() if each.agent_id == agent_id]
    slot = queues.enter(agent, uuid4(), "a message")
    assert isinstance(slot, Slot)
    return slot


def test_the_longest_idle_agent_of_a_user_makes_room_and_no_other_users_does() -> None:
    queues = AgentQueues(Admission(slots=8), most_attached=MOST)
    user, other = uuid4(), uuid4()
    theirs = attach(queues, other, "theirs")
    first, second, third = (attach(queues, user, f"agent{number}") for number in range(MOST))
    queues.leave(busy(queues, first))  # used again: the second is the longest idle one now
    fourth = attach(queues, user, "fourth")
    assert attached(queues) == {theirs, first, third, fourth}
    assert second not in attached(queues)


def test_an_agent_at_work_is_never_let_go_to_make_room() -> None:
    queues = AgentQueues(Admission(slots=8), most_attached=MOST)
    user = uuid4()
    agents = [attach(queues, user, f"agent{number}") for number in range(MOST)]
    slots = [busy(queues, agent) for agent in agents]
    more = attach(queues, user, "more")
    assert attached(queues) == {*agents, more}
    queues.leave(slots[1])
    last = attach(queues, user, "last")
    assert attached(queues) == {*agents, last}
