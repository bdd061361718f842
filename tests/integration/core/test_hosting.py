"""A workspace has one host, and whoever had it before can see that it is gone."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from models import utc_now
from models.statuses import AgentStatus, TaskStatus, WorkspaceState
from models.tenancy import Database
from tasks.hosting import Hosting
from tests.integration.core.world import HOST, World, make_world, together
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack

TTL = 10.0
PAST = timedelta(seconds=-1)


def node(database: Database, name: str = "first") -> Hosting:
    return Hosting(database, node_id=name, ttl=TTL)


@pytest.fixture
def free(database: Database) -> World:
    """A workspace that nobody has hosted yet."""
    return make_world(database, host=None)


def test_a_claim_makes_the_node_its_host_for_the_time_to_live(free: World) -> None:
    before = utc_now()
    epoch = node(free.database).claim(free.key)
    row = free.workspace()
    assert (row.node_id, row.epoch, row.state) == ("first", epoch, WorkspaceState.INITIALIZED)
    assert epoch == 1
    assert row.alive_until is not None
    assert before + timedelta(seconds=TTL) <= row.alive_until <= utc_now() + timedelta(seconds=TTL)


def test_of_twenty_nodes_at_once_one_gets_the_workspace(free: World) -> None:
    for taken in range(5):
        free.change_workspace(node_id=None, alive_until=None)
        names = [f"{taken}-{number}" for number in range(20)]
        results = together([partial(node(free.database, name).claim, free.key) for name in names])
        (winner,) = [name for name, epoch in zip(names, results, strict=True) if epoch is not None]
        assert [epoch for epoch in results if epoch is not None] == [taken + 1]
        assert free.workspace().node_id == winner


def test_of_twenty_nodes_at_once_one_takes_a_lapsed_claim_over(free: World) -> None:
    node(free.database, "lost").claim(free.key)
    free.change_workspace(alive_until=utc_now() + PAST)
    results = together([partial(node(free.database, f"{number}").claim, free.key) for number in range(20)])
    assert [epoch for epoch in results if epoch is not None] == [2]


def test_a_living_host_keeps_its_workspace(free: World) -> None:
    node(free.database).claim(free.key)
    assert node(free.database, "second").claim(free.key) is None
    assert free.workspace().node_id == "first"


def test_the_host_claims_again_under_its_own_epoch_even_when_it_was_silent(free: World) -> None:
    first = node(free.database)
    assert [first.claim(free.key), first.claim(free.key)] == [1, 1]
    free.change_workspace(alive_until=utc_now() + PAST)
    assert first.claim(free.key) == 1
    alive_until = free.workspace().alive_until
    assert alive_until is not None
    assert alive_until > utc_now()


def test_the_epoch_grows_with_each_new_host(free: World) -> None:
    epochs = []
    for name in ("first", "second", "first", "third"):
        epochs.append(node(free.database, name).claim(free.key))
        free.change_workspace(alive_until=utc_now() + PAST)
    assert epochs == [1, 2, 3, 4]


def test_a_claim_names_user_and_project(free: World) -> None:
    stranger = make_world(free.database, host=None)
    for key in (
        WorkspaceKey(stranger.key.user_id, free.key.project_id),
        WorkspaceKey(free.key.user_id, stranger.key.project_id),
        WorkspaceKey(free.key.user_id, uuid4()),
    ):
        assert node(free.database).claim(key) is None
    assert free.workspace().node_id is stranger.workspace().node_id is None


def test_a_renewal_tells_what_is_still_ours_and_prolongs_it_alone(database: Database) -> None:
    ours, lapsed, taken, theirs = (make_world(database, host=None) for _ in range(4))
    first, second = node(database), node(database, "second")
    for world in (ours, lapsed, taken):
        first.claim(world.key)
    for world in (lapsed, taken):
        world.change_workspace(alive_until=utc_now() + PAST)
    second.claim(taken.key)
    second.claim(theirs.key)
    until = theirs.workspace().alive_until
    assert first.renew() == {ours.key, lapsed.key}
    assert theirs.workspace().alive_until == until
    for world in (ours, lapsed):
        alive_until = world.workspace().alive_until
        assert alive_until is not None
        assert alive_until > utc_now()
    assert node(database, "nobody").renew() == set()


def test_a_node_that_ends_gives_all_away_and_names_those_with_work(database: Database) -> None:
    queued, held, running, idle, theirs = (make_world(database, host=None) for _ in range(5))
    first = node(database)
    for world in (queued, held, running, idle):
        first.claim(world.key)
    node(database, "second").claim(theirs.key)
    for world in (queued, theirs):
        world.accept()
    held.change_task(held.accept().task_id, status=TaskStatus.HELD)
    running.change_task(running.accept().task_id, status=TaskStatus.RUNNING)
    assert first.release_all() == [queued.key]
    for world in (queued, held, running, idle):
        row = world.workspace()
        assert (row.node_id, row.alive_until, row.state) == (None, None, WorkspaceState.SHUTDOWN)
    assert theirs.workspace().node_id == "second"
    assert first.release_all() == []
    assert node(database, "second").claim(queued.key) == 2


def test_agents_with_work_are_those_with_queued_tasks_in_these_workspaces(database: Database) -> None:
    world, elsewhere = make_world(database), make_world(database)
    busy = world.agent("busy", concurrency_limit=7)
    for name in ("idle", "held", "done"):
        world.agent(name)
    world.accept(world.session(), agent="busy")
    world.accept(world.session(), agent="busy")
    world.change_task(world.accept(world.session(), agent="held").task_id, status=TaskStatus.HELD)
    world.change_task(world.accept(world.session(), agent="done").task_id, status=TaskStatus.COMPLETED)
    elsewhere.accept()
    (found,) = node(database).agents_with_work([world.key])
    assert (found.key, found.agent_id, found.agent_name, found.limit) == (world.key, busy, "busy", 7)
    assert (found.status, found.status_reason) == (AgentStatus.READY, None)
    both = node(database).agents_with_work([world.key, elsewhere.key])
    assert {agent.agent_id for agent in both} == {busy, elsewhere.agent_id}
    assert node(database).agents_with_work([]) == []
    mixed = WorkspaceKey(world.key.user_id, elsewhere.key.project_id)
    assert node(database).agents_with_work([mixed]) == []


def test_agents_are_found_by_their_ids(world: World) -> None:
    second = world.agent("second")
    found = node(world.database).agents([second, uuid4()])
    assert [agent.agent_name for agent in found] == ["second"]
    assert node(world.database).agents([]) == []


def test_the_host_that_a_node_names_is_itself(database: Database) -> None:
    assert node(database, HOST.node_id).host(HOST.epoch) == HOST
