"""Which request queues a node has open: those of workspaces that it hosts and that were asked for lately."""

import threading
from dataclasses import dataclass

import pytest
import redis

from models.tenancy import Database
from tasks.request_queues import RequestQueues
from tests.integration.core.hosting import OneNode
from tests.integration.core.world import World, make_world

pytestmark = pytest.mark.stack


@dataclass
class Asked:
    """A node, and what it has open."""

    node: OneNode
    world: World

    def open(self) -> bool:
        return [queue.key for queue in self.node.requests.opened()] == [self.world.key]


@pytest.fixture
def asked(database: Database, old_redis: redis.Redis) -> Asked:
    return Asked(OneNode(database, old_redis, ttl=30.0, fence=20.0), make_world(database, host=None))


def test_a_queue_is_opened_when_it_is_asked_for(asked: Asked) -> None:
    asked.node.open(asked.world)
    assert not asked.open()
    asked.node.requests.hear(asked.world.key)
    assert asked.open()


def test_what_was_asked_before_the_workspace_came_is_opened_when_it_does(asked: Asked) -> None:
    asked.node.requests.hear(asked.world.key)
    assert not asked.open()
    asked.node.open(asked.world)
    asked.node.requests.open_if_asked(asked.world.key)
    assert asked.open()


def test_a_look_finds_what_was_asked_for(asked: Asked) -> None:
    asked.node.requests.hear(asked.world.key)
    asked.node.open(asked.world)
    asked.node.requests.look()
    assert asked.open()


def test_a_suspended_workspace_has_none_until_it_goes_on(asked: Asked) -> None:
    space = asked.node.open(asked.world)
    asked.node.requests.hear(asked.world.key)
    space.suspend()
    assert not asked.open()
    asked.node.requests.look()
    asked.node.requests.hear(asked.world.key)
    assert not asked.open()
    assert space.tenure is not None
    space.renewed(space.tenure.sure_until)
    asked.node.requests.look()
    assert asked.open()


@pytest.mark.parametrize("end", ["close", "lose"])
def test_a_workspace_that_is_hosted_no_more_has_none(asked: Asked, end: str) -> None:
    space = asked.node.open(asked.world)
    asked.node.requests.hear(asked.world.key)
    if end == "close":
        assert space.close("asked")
    else:
        space.lose()
    asked.node.requests.look()
    assert not asked.open()


def test_a_look_lets_go_of_what_was_given_away_without_a_word(asked: Asked) -> None:
    space = asked.node.open(asked.world)
    asked.node.requests.hear(asked.world.key)
    space.tenure = None
    asked.node.requests.look()
    assert not asked.open()


def test_an_idle_queue_is_let_go_and_opened_again_when_it_is_asked_for(asked: Asked) -> None:
    asked.node.open(asked.world)
    asked.node.requests = RequestQueues(asked.node.desk, idle=100.0)
    asked.node.requests.hear(asked.world.key)
    asked.node.requests.look()
    assert asked.open()
    (queue,) = asked.node.requests.opened()
    queue.last_used -= 101
    asked.node.requests.look()
    assert not asked.open()
    asked.node.requests.hear(asked.world.key)
    assert asked.open()


def test_one_user_has_so_many_open_and_the_others_are_not_touched(asked: Asked) -> None:
    node = asked.node
    requests = RequestQueues(node.desk, most_open=2)
    stranger = make_world(asked.world.database, host=None)
    mine = [asked.world, asked.world.project(), asked.world.project()]
    for world in (stranger, *mine):
        node.open(world)
        requests.hear(world.key)
    assert {queue.key for queue in requests.opened()} == {stranger.key, mine[1].key, mine[2].key}
    requests.look()
    assert len(requests.opened()) == 3


def test_a_workspace_is_closed_after_what_its_host_was_asked(asked: Asked) -> None:
    """Memory is let go of with the workspace, and nothing may open it again behind that."""
    space = asked.node.open(asked.world)
    asked.node.desk._enter(asked.world.key)
    asked.node.services = asked.node.services._replace(grace=20.0)
    space._services = asked.node.services
    closing = threading.Thread(target=space.close, args=("asked",))
    closing.start()
    closing.join(0.5)
    assert closing.is_alive()
    asked.node.desk._leave(asked.world.key)
    closing.join(10)
    assert space.tenure is None
