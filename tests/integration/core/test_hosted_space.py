"""What a node does with a workspace that it hosts: it opens, is suspended, goes on, is reset, lost or closed."""

import threading

import pytest
import redis

from models.statuses import TaskStatus, WorkspaceState
from models.tenancy import Database
from tasks.attached_agent import Refusal
from tests.integration.core.hosting import OneNode, owner, stopped
from tests.integration.core.world import World, make_world, together
from tests.support.waiting import eventually
from workspace.errors import AgentDeleted, Cancelled, WorkerLost, WorkerShutdown
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack


@pytest.fixture
def node(database: Database, old_redis: redis.Redis) -> OneNode:
    return OneNode(database, old_redis)


@pytest.fixture
def second(database: Database, old_redis: redis.Redis) -> OneNode:
    return OneNode(database, old_redis, "second")


@pytest.fixture
def world(database: Database) -> World:
    """A workspace that nobody hosts, whose agent may do three things at once."""
    made = make_world(database, host=None)
    made.change_agent(made.agent_id, config={"name": "helper", "concurrency_limit": 3})
    return made


# -- opening -----------------------------------------------------------------------------------------------------


def test_opening_claims_attaches_the_agents_with_work_and_says_that_it_is_ready(world: World, node: OneNode) -> None:
    world.agent("idle")
    world.accept()
    space = node.space(world)
    assert space.open()
    assert space.tenure is not None
    assert (space.tenure.epoch, space.tenure.is_sure) == (1, True)
    assert [agent.agent_name for agent in node.queues.attached_to(world.key)] == ["helper"]
    row = world.workspace()
    assert (row.node_id, row.state) == ("first", WorkspaceState.INITIALIZED)
    assert node.recovered == []


def test_opening_again_keeps_what_is_at_work(world: World, node: OneNode) -> None:
    space = node.open(world)
    slot = node.enter(world.agent_id)
    tenure = space.tenure
    assert space.open()
    assert space.tenure is tenure
    assert stopped(slot) is None


def test_of_many_openings_at_once_one_initializes(world: World, node: OneNode) -> None:
    space = node.space(world)
    assert together([space.open] * 10) == [True] * 10
    assert world.workspace().epoch == 1


def test_another_living_nodes_workspace_is_not_opened(world: World, node: OneNode, second: OneNode) -> None:
    node.open(world)
    space = second.space(world)
    assert not space.open()
    assert space.tenure is None
    assert second.queues.attached() == []
    assert owner(node.client, world) == "first"


def test_what_a_lost_host_left_is_ended_before_the_first_task_comes(
    world: World, node: OneNode, second: OneNode
) -> None:
    node.open(world)
    node.client.delete(world.key.lease)
    world.accept()
    attached_then = []

    def recover(key: WorkspaceKey) -> int:
        attached_then.append(second.queues.attached_to(key))
        return 1

    second.recover = recover
    assert second.space(world).open()
    assert attached_then == [[]]
    assert len(second.queues.attached_to(world.key)) == 1


def test_a_workspace_that_can_not_be_opened_is_given_back(world: World, node: OneNode, second: OneNode) -> None:
    node.open(world)
    node.client.delete(world.key.lease)

    def fail(_: object) -> int:
        raise RuntimeError("no such luck")

    second.recover = fail
    space = second.space(world)
    with pytest.raises(RuntimeError, match="luck"):
        space.open()
    assert space.tenure is None
    assert second.queues.attached() == []
    row = world.workspace()
    assert (row.node_id, row.state) == (None, WorkspaceState.ERROR)
    assert owner(node.client, world) is None
    assert node.space(world).open()


# -- the limit over a detach and a new attach --------------------------------------------------------------------


def test_what_a_detached_agent_still_does_counts_when_it_is_attached_again(world: World, node: OneNode) -> None:
    space = node.open(world)
    slots = [node.enter(world.agent_id) for _ in range(2)]
    space.detach(world.agent_id, None)
    assert node.queues.attached() == []
    assert [stopped(slot) for slot in slots] == [None, None]
    assert node.queues.running_of(world.key) == 2
    space.attach_by_id(world.agent_id)
    third = node.enter(world.agent_id)
    (agent,) = node.queues.attached()
    assert node.queues.enter(agent, third.task_id, "a message") is Refusal.DUPLICATE
    assert node.queues.enter(agent, world.session_id, "a message") is Refusal.FULL
    for slot in slots:
        node.queues.leave(slot)
    node.enter(world.agent_id)


def test_a_detached_agents_work_is_stopped_with_its_workspace(world: World, node: OneNode) -> None:
    space = node.open(world)
    slot = node.enter(world.agent_id)
    space.detach(world.agent_id, None)
    space.suspend()
    assert stopped(slot) is WorkerLost


@pytest.mark.parametrize("state", ["suspended", "closing", "lost"])
def test_no_agent_is_attached_to_a_workspace_that_takes_no_work(world: World, node: OneNode, state: str) -> None:
    space = node.space(world)
    assert space.open()
    assert space.tenure is not None
    match state:
        case "suspended":
            space.suspend()
        case "closing":
            space.tenure.closing = True
        case _:
            space.lose()
    space.attach_by_id(world.agent_id)
    assert node.queues.attached() == []


def test_no_agent_of_another_workspace_is_attached(world: World, node: OneNode) -> None:
    space = node.open(world)
    stranger = make_world(world.database)
    space.attach_by_id(stranger.agent_id)
    assert [agent.agent_id for agent in node.queues.attached()] == [world.agent_id]


# -- suspending and losing ---------------------------------------------------------------------------------------


def test_a_suspended_workspace_stops_its_work_and_goes_on_when_it_is_renewed(world: World, node: OneNode) -> None:
    space, bystander = node.open(world), make_world(world.database, host=None)
    node.open(bystander)
    slot, other = node.enter(world.agent_id), node.enter(bystander.agent_id)
    world.accept()
    space.suspend()
    assert (stopped(slot), stopped(other)) == (WorkerLost, None)
    assert node.queues.attached_to(world.key) == []
    assert space.tenure is not None
    assert space.tenure.suspended
    sure_until = space.tenure.sure_until
    assert space.renewed(sure_until + 5), "its node attaches what has work"
    assert not space.tenure.suspended
    space.attach_needed()
    assert space.tenure.sure_until == sure_until + 5
    assert len(node.queues.attached_to(world.key)) == 1


def test_a_late_renewal_makes_a_claim_no_less_sure(world: World, node: OneNode) -> None:
    space = node.open(world)
    assert space.tenure is not None
    sure_until = space.tenure.sure_until
    space.renewed(sure_until - 5)
    assert space.tenure.sure_until == sure_until


def test_a_lost_workspace_stops_its_work_and_is_no_more_hosted(world: World, node: OneNode) -> None:
    space = node.open(world)
    slot = node.enter(world.agent_id)
    space.lose(AgentDeleted())
    assert stopped(slot) is AgentDeleted
    assert space.tenure is None
    assert node.queues.attached() == []
    space.lose()
    space.suspend()
    space.renewed(0)
    assert space.tenure is None


# -- reset -------------------------------------------------------------------------------------------------------


def test_a_reset_stops_the_work_and_begins_under_the_epoch_of_the_row(world: World, node: OneNode) -> None:
    space = node.open(world)
    slot = node.enter(world.agent_id)
    world.change_workspace(epoch=2, state=WorkspaceState.INITIALIZING)
    space.reset(Cancelled())
    assert stopped(slot) is Cancelled
    assert space.tenure is not None
    assert space.tenure.epoch == 2
    assert world.workspace().state is WorkspaceState.INITIALIZED


# -- closing -----------------------------------------------------------------------------------------------------


def test_a_closed_workspace_is_free_and_its_data_stays(world: World, node: OneNode) -> None:
    space = node.open(world)
    before = world.rows()
    assert space.close("asked")
    row = world.workspace()
    assert (row.node_id, row.state) == (None, WorkspaceState.CLEANED)
    assert owner(node.client, world) is None
    assert space.tenure is None
    assert node.queues.attached() == []
    assert world.rows() == before
    assert node.outgoing.placements == []
    assert not space.close("asked")


def test_running_work_gets_its_grace_when_a_workspace_is_closed(
    world: World, database: Database, old_redis: redis.Redis
) -> None:
    node = OneNode(database, old_redis, grace=60)
    space = node.open(world)
    slot = node.enter(world.agent_id)
    closing = threading.Thread(target=space.close, args=["asked"])
    closing.start()
    eventually(lambda: not node.queues.attached(), "no more work is taken")
    assert closing.is_alive()
    assert stopped(slot) is None
    node.queues.leave(slot)
    closing.join(10)
    assert stopped(slot) is None
    assert world.workspace().node_id is None


def test_work_that_does_not_end_within_the_grace_is_told_to_stop(world: World, node: OneNode) -> None:
    space = node.open(world)
    slot = node.enter(world.agent_id)
    closing = threading.Thread(target=space.close, args=["asked"])
    closing.start()
    eventually(lambda: stopped(slot) is WorkerShutdown, "the work is told to stop")
    assert world.workspace().node_id == "first", "it is not given away while work may still write"
    node.queues.leave(slot)
    closing.join(10)
    assert world.workspace().node_id is None


@pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.RUNNING])
def test_a_workspace_that_is_closed_with_work_left_is_placed_anew(
    world: World, node: OneNode, status: TaskStatus
) -> None:
    space = node.open(world)
    world.change_task(world.accept().task_id, status=status)
    assert space.close("idle")
    assert node.outgoing.placements == [[str(world.key.user_id), str(world.key.project_id)]]


def test_a_workspace_that_was_lost_while_it_closed_is_not_given_away_again(world: World, node: OneNode) -> None:
    space = node.open(world)
    world.accept()
    world.change_workspace(node_id="second", epoch=2)
    assert space.close("asked")
    assert (world.workspace().node_id, world.workspace().epoch) == ("second", 2)
    assert node.outgoing.placements == [], "its new host sees to it"
