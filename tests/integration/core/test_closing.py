"""Closing a workspace takes as long as its work: nothing waits for that in between, and what fails leaves it well."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from bootstrap import build_node
from models import Workspace
from models.statuses import WorkspaceState
from models.tenancy import Database
from settings import load_settings
from tasks.attached_agent import Slot
from tasks.node import Node
from tasks.sender import web_sender
from tests.integration.core.moves import accept
from tests.integration.core.world import World, make_world
from tests.support.waiting import eventually
from workspace.cancellation import Cancellation
from workspace.errors import Cancelled
from workspace.hosted_space import HostedSpace

pytestmark = pytest.mark.stack

GRACE = 20.0
PATIENCE = 0.5
RESET = Cancelled("The workspace was reset.")


@pytest.fixture
def world(database: Database) -> World:
    """A workspace that nobody hosts."""
    return make_world(database, host=None)


@pytest.fixture
def node(database: Database) -> Node:
    """A node without a worker: its threads do not run, its statements may take half a second."""
    settings = load_settings().model_copy(
        update={
            "database_url": database.engine.url.render_as_string(hide_password=False),
            "database_statement_timeout": PATIENCE,
            "node_shutdown_grace": GRACE,
        }
    )
    return build_node(web_sender(settings), name=f"closing-{uuid4().hex[:8]}", settings=settings)


@pytest.fixture
def host(node: Node, world: World) -> HostedSpace:
    """The workspace as that node hosts it, with its agent attached."""
    assert node.host(world.key)
    host = node.manager.get_or_create(world.key).host
    assert host is not None
    host.attach_by_id(world.agent_id)
    return host


def at_work(node: Node, world: World) -> Slot:
    """A task that has a slot of the agent."""
    agent = node.queues.find(world.key.agent_queue("helper"))
    assert agent is not None
    slot = node.queues.enter(agent, uuid4(), "a message")
    assert isinstance(slot, Slot)
    return slot


@contextmanager
def beside(call: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=call)
    thread.start()
    yield thread
    thread.join(GRACE)
    assert not thread.is_alive()


def is_closing(host: HostedSpace) -> bool:
    return host.tenure is not None and host.tenure.closing


def test_a_workspace_whose_closing_failed_is_served_as_before(world: World, node: Node, host: HostedSpace) -> None:
    slot = at_work(node, world)
    with ThreadPoolExecutor(1) as threads:
        closing = threads.submit(host.close, "asked")
        eventually(lambda: not node.queues.attached(), "the agent to be let go")
        with world.database.tenant_session(world.key.user_id) as session:
            # The row is busy for longer than a statement may be.
            session.execute(select(Workspace.epoch).with_for_update())
            node.queues.leave(slot)
            with pytest.raises(OperationalError):
                closing.result(GRACE)
    accept(world)
    host.attach_needed()
    assert [agent.agent_id for agent in node.queues.attached()] == [world.agent_id]
    assert host.close("asked")
    assert world.workspace().state is WorkspaceState.CLEANED


def test_a_reset_stops_the_work_that_a_closing_waits_for(world: World, node: Node, host: HostedSpace) -> None:
    slot = at_work(node, world)
    with beside(partial(host.close, "asked")):
        eventually(partial(is_closing, host), "the workspace to be closing")
        Cancellation(world.database).reset(world.key)
        with beside(partial(host.reset, RESET)):
            eventually(lambda: slot.stop.reason is not None, "the work to be stopped", within=GRACE / 4)
            assert slot.stop.reason is RESET
            node.queues.leave(slot)
    assert host.tenure is not None
    assert (host.tenure.epoch, host.tenure.closing) == (world.workspace().epoch, False)


def test_whoever_asks_for_a_workspace_that_is_closing_does_not_wait_for_its_work(
    world: World, node: Node, host: HostedSpace
) -> None:
    slot = at_work(node, world)
    with beside(partial(host.close, "asked")):
        eventually(partial(is_closing, host), "the workspace to be closing")
        began = time.monotonic()
        assert not node.host(world.key)
        assert not host.close("asked")
        assert time.monotonic() - began < GRACE / 4
        assert slot.stop.reason is None
        node.queues.leave(slot)
    assert host.tenure is None
