"""A workspace has one host, and whoever had it before can see that it is gone."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import redis

from models import utc_now
from models.statuses import AgentStatus, TaskStatus, WorkspaceState
from models.tenancy import Database
from tests.integration.core.conftest import TTL
from tests.integration.core.world import HOST, World, make_world, together
from workspace.claims import Claim, Claims
from workspace.leases import Leases, Take
from workspace.ledger import Host
from workspace.names import LEASES_SINCE, WorkspaceKey

pytestmark = pytest.mark.stack

SOON = timedelta(seconds=60)


class Nodes:
    """Claims of any node, over one database and one Redis."""

    def __init__(self, database: Database, client: redis.Redis) -> None:
        self.database = database
        self.client = client
        self.leases = Leases(client, ttl=TTL)

    def __call__(self, name: str = "first") -> Claims:
        return Claims(self.database, Leases(self.client, ttl=TTL), node_id=name)

    def hosted(self, name: str = "first") -> World:
        """A workspace that a node hosts."""
        world = make_world(self.database, host=None)
        assert self(name).claim(world.key) is not None
        return world

    def lapse(self, *worlds: World) -> None:
        """Let leases lapse, as when their node renews them no more."""
        for world in worlds:
            assert self.client.delete(world.key.lease)

    def lose_all_data(self) -> None:
        """Let Redis lose everything, as by a restart without persistence."""
        self.client.flushdb()

    def grow_old(self) -> None:
        """Let Redis have had its data for longer than a lease lives."""
        self.client.set(LEASES_SINCE, 0)

    def owner(self, world: World) -> str | None:
        value = self.client.get(world.key.lease)
        return value.decode() if isinstance(value, bytes) else None


@pytest.fixture
def node(database: Database, old_redis: redis.Redis) -> Nodes:
    return Nodes(database, old_redis)


@pytest.fixture
def free(database: Database) -> World:
    """A workspace that nobody has hosted yet."""
    return make_world(database, host=None)


def epochs(results: list[Claim | Exception | None]) -> list[int]:
    """Return the epochs of the claims that were given; anything else than a claim or a refusal fails the test."""
    assert all(result is None or isinstance(result, Claim) for result in results), results
    return [result.epoch for result in results if isinstance(result, Claim)]


def epoch(claim: Claim | None) -> int | None:
    return claim.epoch if claim else None


# -- claiming ----------------------------------------------------------------------------------------------------


def test_a_claim_makes_the_node_its_host_under_a_lease(free: World, node: Nodes) -> None:
    free.change_workspace(settings={"idle_timeout_seconds": 90})
    claim = node().claim(free.key)
    assert claim == Claim(1, {"idle_timeout_seconds": 90}, None)
    row = free.workspace()
    assert (row.node_id, row.epoch, row.state, row.alive_until) == ("first", 1, WorkspaceState.INITIALIZING, None)
    assert node.owner(free) == "first"
    left = node.client.pttl(free.key.lease)
    assert isinstance(left, int)
    assert TTL * 500 < left <= TTL * 1_000


def test_of_twenty_nodes_at_once_one_gets_the_workspace_and_the_epoch_grows_by_one(free: World, node: Nodes) -> None:
    for taken in range(5):
        free.change_workspace(node_id=None)
        node.client.delete(free.key.lease)
        names = [f"{taken}-{number}" for number in range(20)]
        results = together([partial(node(name).claim, free.key) for name in names])
        assert epochs(results) == [taken + 1]
        (winner,) = [name for name, claim in zip(names, results, strict=True) if claim is not None]
        assert (free.workspace().node_id, free.workspace().epoch) == (winner, taken + 1)
        assert node.owner(free) == winner


def test_of_twenty_nodes_at_once_one_takes_a_lost_hosts_workspace_over(free: World, node: Nodes) -> None:
    node("lost").claim(free.key)
    node.lapse(free)
    results = together([partial(node(f"{number}").claim, free.key) for number in range(20)])
    assert epochs(results) == [2]
    (claim,) = [result for result in results if isinstance(result, Claim)]
    assert claim.lost_host == Host("lost", 1)


def test_a_living_host_keeps_its_workspace(free: World, node: Nodes) -> None:
    node().claim(free.key)
    assert node("second").claim(free.key) is None
    assert free.workspace().node_id == "first"
    assert node.owner(free) == "first"


def test_the_host_claims_again_under_its_own_epoch_even_when_its_lease_had_lapsed(free: World, node: Nodes) -> None:
    first = node()
    assert [epoch(first.claim(free.key)), epoch(first.claim(free.key))] == [1, 1]
    node.lapse(free)
    free.change_workspace(alive_until=utc_now() - SOON)
    claim = first.claim(free.key)
    assert claim is not None
    assert (claim.epoch, claim.lost_host) == (1, None)
    assert node.owner(free) == "first"
    assert free.workspace().alive_until is None


def test_the_epoch_grows_with_each_new_host(free: World, node: Nodes) -> None:
    found = []
    for name in ("first", "second", "first", "third"):
        found.append(epoch(node(name).claim(free.key)))
        node.lapse(free)
    assert found == [1, 2, 3, 4]


def test_a_node_under_whose_lease_the_row_went_elsewhere_does_not_get_it_back(free: World, node: Nodes) -> None:
    """Two nodes read the row; the slower one takes the lease after the faster one had it, claimed and lost it."""
    slow, fast = node("slow"), node("fast")
    row = slow._row(free.key)
    assert row is not None
    fast.claim(free.key)
    node.lapse(free)
    assert slow._take_lease(free.key, row)
    assert not slow._change(free.key, row, node_id="slow", epoch=row.epoch + 1)
    assert free.workspace().node_id == "fast"


@pytest.mark.parametrize(
    "change", [{"node_id": "another", "epoch": 7}, {"node_id": None}, {"epoch": 7}], ids=["taken", "released", "reset"]
)
@pytest.mark.parametrize("taker", ["claim", "bury"])
def test_who_comes_too_late_for_the_row_changes_nothing_and_gives_the_lease_back(
    node: Nodes, taker: str, change: dict[str, Any]
) -> None:
    world = node.hosted()
    node.lapse(world)

    class Slow(Leases):
        def take(self, *arguments: Any, **options: Any) -> Take:
            world.change_workspace(**change)
            return super().take(*arguments, **options)

    claims = Claims(world.database, Slow(node.client, ttl=TTL), node_id="late")
    assert not (claims.claim(world.key) if taker == "claim" else claims.bury(world.key))
    assert node.owner(world) is None
    row = world.workspace()
    assert (row.node_id, row.epoch) == (change.get("node_id", "first"), change.get("epoch", 1))


@pytest.mark.parametrize("taker", ["claim", "bury"])
def test_the_lease_of_a_host_that_told_postgres_of_its_life_is_not_even_touched(node: Nodes, taker: str) -> None:
    """For the moment of a try, its next renewal would find the lease to be another's."""
    world = node.hosted()
    node().extend([world.key])
    node.lapse(world)

    class Untouched(Leases):
        def take(self, *arguments: Any, **options: Any) -> Take:
            raise AssertionError("the lease was asked for")

    claims = Claims(world.database, Untouched(node.client, ttl=TTL), node_id="thief")
    assert not (claims.claim(world.key) if taker == "claim" else claims.bury(world.key))


@pytest.mark.parametrize("act", ["claim", "bury", "release", "move"])
def test_what_happens_to_one_workspace_leaves_the_others_of_its_user(node: Nodes, act: str) -> None:
    host = None if act == "claim" else Host("first", 1)
    world = make_world(node.database, host=host)
    sibling = make_world(node.database, user_id=world.key.user_id, host=host)
    before = sibling.workspace()
    match act:
        case "claim":
            assert node().claim(world.key)
        case "bury":
            assert node("second").bury(world.key)
        case "release":
            assert node().release(world.key, 1, WorkspaceState.CLEANED)
        case _:
            world.change_workspace(state=WorkspaceState.INITIALIZING)
            sibling.change_workspace(state=WorkspaceState.INITIALIZING)
            before = sibling.workspace()
            assert node().move(world.key, 1, WorkspaceState.INITIALIZED)
    after = sibling.workspace()
    assert (after.node_id, after.epoch, after.state) == (before.node_id, before.epoch, before.state)


def test_a_claim_names_user_and_project(free: World, node: Nodes) -> None:
    stranger = make_world(free.database, host=None)
    for key in (
        WorkspaceKey(stranger.key.user_id, free.key.project_id),
        WorkspaceKey(free.key.user_id, stranger.key.project_id),
        WorkspaceKey(free.key.user_id, uuid4()),
    ):
        assert node().claim(key) is None
        assert node.client.get(key.lease) is None
    assert free.workspace().node_id is stranger.workspace().node_id is None


# -- Redis that lost its data, or is away ------------------------------------------------------------------------


def test_after_redis_lost_its_data_nobody_takes_from_another_until_a_lease_could_have_lapsed(node: Nodes) -> None:
    ours, theirs = node.hosted(), node.hosted("second")
    node.lose_all_data()
    assert node("third").claim(ours.key) is None
    assert not node("third").bury(ours.key)
    assert epoch(node().claim(ours.key)) == 1, "the host takes its own again under its own epoch"
    node.grow_old()
    assert node("third").claim(ours.key) is None
    assert epoch(node("third").claim(theirs.key)) == 2, "its host was silent for as long as a lease lives"


def test_after_redis_lost_its_data_a_workspace_without_a_host_is_taken_at_once(free: World, node: Nodes) -> None:
    node.lose_all_data()
    assert epoch(node().claim(free.key)) == 1


def test_a_host_that_told_postgres_of_its_life_keeps_the_workspace(node: Nodes) -> None:
    world = node.hosted()
    assert node().extend([world.key]) == {world.key: 1}
    node.lapse(world)
    assert node("second").claim(world.key) is None
    assert not node("second").bury(world.key)
    assert node.owner(world) is None, "who may not have the workspace takes no lease"
    assert epoch(node().claim(world.key)) == 1
    assert world.workspace().alive_until is None, "with its lease it needs no other sign of life"


@pytest.mark.parametrize("taker", ["claim", "bury"])
def test_a_host_that_tells_of_its_life_at_the_last_moment_keeps_the_workspace(node: Nodes, taker: str) -> None:
    world = node.hosted()
    node.lapse(world)

    class Late(Leases):
        def take(self, *arguments: Any, **options: Any) -> Take:
            taken = super().take(*arguments, **options)
            node().extend([world.key])
            return taken

    thief = Claims(node.database, Late(node.client, ttl=TTL), node_id="thief")
    assert not (thief.claim(world.key) if taker == "claim" else thief.bury(world.key))
    assert (world.workspace().node_id, world.workspace().epoch) == ("first", 1)
    assert node.owner(world) is None


def test_a_sign_of_life_lasts_no_longer_than_a_lease(node: Nodes) -> None:
    world = node.hosted()
    before = utc_now()
    node().extend([world.key])
    until = world.workspace().alive_until
    assert until is not None
    assert before + timedelta(seconds=TTL - 1) <= until <= utc_now() + timedelta(seconds=TTL + 1)
    node.lapse(world)
    world.change_workspace(alive_until=utc_now() - timedelta(seconds=1))
    assert epoch(node("second").claim(world.key)) == 2


# -- burying -----------------------------------------------------------------------------------------------------


def test_a_workspace_is_taken_from_a_host_that_is_gone_for_nobody(node: Nodes) -> None:
    world = node.hosted("lost")
    node.lapse(world)
    assert node().bury(world.key)
    row = world.workspace()
    assert (row.node_id, row.epoch, row.state) == (None, 2, WorkspaceState.SHUTDOWN)
    assert node.owner(world) is None
    assert epoch(node("second").claim(world.key)) == 3


def test_of_twenty_burials_at_once_one_is_done(node: Nodes) -> None:
    world = node.hosted("lost")
    node.lapse(world)
    results = together([partial(node(f"{number}").bury, world.key) for number in range(20)])
    assert results.count(True) == 1, results
    assert results.count(False) == 19, results
    assert world.workspace().epoch == 2


def test_of_burials_and_claims_at_once_the_workspace_ends_with_one_host_or_none(node: Nodes) -> None:
    for _ in range(10):
        world = node.hosted("lost")
        node.lapse(world)
        claims = [partial(node(f"{number}").claim, world.key) for number in range(8)]
        burials = [partial(node(f"{number}").bury, world.key) for number in range(8)]
        results = together([*claims, *burials])
        given, buried = epochs(results[:8]), results[8:].count(True)
        row = world.workspace()
        assert len(given) <= 1
        assert buried <= 1
        assert row.epoch == 1 + len(given) + buried
        assert (row.node_id is None) == (not given)
        assert node.owner(world) == row.node_id


@pytest.mark.parametrize("host", ["alive", "itself", "nobody"])
def test_nothing_is_buried_that_lives_is_ones_own_or_has_no_host(free: World, node: Nodes, host: str) -> None:
    if host != "nobody":
        node("first").claim(free.key)
    if host == "itself":
        node.lapse(free)
    before = free.workspace().epoch
    assert not node("first" if host == "itself" else "second").bury(free.key)
    assert free.workspace().epoch == before


def test_a_buried_host_that_comes_back_finds_its_workspace_lost(node: Nodes) -> None:
    world = node.hosted("lost")
    node.lapse(world)
    node().bury(world.key)
    renewal = node.leases.renew("lost", [world.key])
    assert renewal.retaken == {world.key}, "it has to look at the row"
    assert node("lost").own(renewal.retaken) == {}
    assert node("lost").extend([world.key]) == {}
    assert not node("lost").release(world.key, 1, WorkspaceState.CLEANED)
    assert not node("lost").move(world.key, 1, WorkspaceState.CLEANING)


def test_a_host_whose_workspace_another_took_finds_its_lease_lost(node: Nodes) -> None:
    world = node.hosted("lost")
    node.lapse(world)
    node().claim(world.key)
    assert node.leases.renew("lost", [world.key]).lost == {world.key}


# -- keeping and giving ------------------------------------------------------------------------------------------


def test_a_node_is_told_what_is_still_its_own_and_extends_that_alone(node: Nodes) -> None:
    ours, silent, other = node.hosted(), node.hosted(), node.hosted()
    taken, theirs = node.hosted(), node.hosted("second")
    node.lapse(silent, taken)
    node("second").claim(taken.key)
    asked = [ours.key, silent.key, taken.key, theirs.key]
    mine = {ours.key: 1, silent.key: 1}
    assert node().own(asked) == mine
    assert node().own() == {**mine, other.key: 1}
    assert node().own([]) == node().extend([]) == {}
    assert node().extend(asked) == mine
    assert [world.workspace().alive_until is not None for world in (ours, silent, other, taken, theirs)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert node("nobody").own() == {}


def test_a_released_workspace_is_free_at_once(node: Nodes) -> None:
    world = node.hosted()
    assert node().release(world.key, 1, WorkspaceState.CLEANED)
    row = world.workspace()
    assert (row.node_id, row.epoch, row.state) == (None, 1, WorkspaceState.CLEANED)
    assert node.owner(world) is None
    assert epoch(node("second").claim(world.key)) == 2


@pytest.mark.parametrize("wrong", ["node", "epoch"])
def test_only_the_host_under_its_epoch_gives_a_workspace_away_or_says_its_state(node: Nodes, wrong: str) -> None:
    world = node.hosted()
    claims, claimed = (node("second"), 1) if wrong == "node" else (node(), 2)
    before = world.workspace()
    assert not claims.move(world.key, claimed, WorkspaceState.INITIALIZED)
    assert not claims.release(world.key, claimed, WorkspaceState.CLEANED)
    after = world.workspace()
    assert (after.node_id, after.epoch, after.state) == (before.node_id, before.epoch, before.state)


def test_a_release_leaves_the_lease_of_another(node: Nodes) -> None:
    world = node.hosted()
    node.lapse(world)
    node("second").claim(world.key)
    assert not node().release(world.key, 1, WorkspaceState.CLEANED)
    assert node.owner(world) == "second"


def test_the_state_of_a_workspace_goes_as_the_statuses_say(node: Nodes) -> None:
    world = node.hosted()
    assert world.workspace().initialized_at is None
    assert not node().move(world.key, 1, WorkspaceState.CLEANED), "it was never cleaning"
    assert node().move(world.key, 1, WorkspaceState.INITIALIZED)
    row = world.workspace()
    assert row.state is WorkspaceState.INITIALIZED
    assert row.initialized_at is not None


def test_a_node_that_ends_gives_all_away_and_names_those_with_work(node: Nodes) -> None:
    queued, held, running, idle = (node.hosted() for _ in range(4))
    theirs = node.hosted("second")
    for world in (queued, theirs):
        world.accept()
    held.change_task(held.accept().task_id, status=TaskStatus.HELD)
    running.change_task(running.accept().task_id, status=TaskStatus.RUNNING)
    node().extend([queued.key])
    assert node().release_all() == [queued.key]
    for world in (queued, held, running, idle):
        row = world.workspace()
        assert (row.node_id, row.alive_until, row.state) == (None, None, WorkspaceState.SHUTDOWN)
        assert node.owner(world) is None
    assert theirs.workspace().node_id == node.owner(theirs) == "second"
    assert node().release_all() == []
    assert epoch(node("second").claim(queued.key)) == 2


# -- what a workspace has ----------------------------------------------------------------------------------------


def test_agents_with_work_are_those_with_queued_tasks_in_these_workspaces(database: Database, node: Nodes) -> None:
    world, elsewhere = make_world(database), make_world(database)
    busy = world.agent("busy", concurrency_limit=7)
    for name in ("idle", "held", "done"):
        world.agent(name)
    world.accept(world.session(), agent="busy")
    world.accept(world.session(), agent="busy")
    world.change_task(world.accept(world.session(), agent="held").task_id, status=TaskStatus.HELD)
    world.change_task(world.accept(world.session(), agent="done").task_id, status=TaskStatus.COMPLETED)
    elsewhere.accept()
    (found,) = node().agents_with_work([world.key])
    assert (found.key, found.agent_id, found.agent_name, found.limit) == (world.key, busy, "busy", 7)
    assert (found.status, found.status_reason) == (AgentStatus.READY, None)
    both = node().agents_with_work([world.key, elsewhere.key])
    assert {agent.agent_id for agent in both} == {busy, elsewhere.agent_id}
    assert node().agents_with_work([]) == []
    mixed = WorkspaceKey(world.key.user_id, elsewhere.key.project_id)
    assert node().agents_with_work([mixed]) == []


def test_agents_are_found_by_their_ids(world: World, node: Nodes) -> None:
    second = world.agent("second")
    assert [agent.agent_name for agent in node().agents([second, uuid4()])] == ["second"]
    assert node().agents([]) == []


def test_the_host_that_a_node_names_is_itself(node: Nodes) -> None:
    assert node(HOST.node_id).host(HOST.epoch) == HOST


@pytest.mark.parametrize("status", sorted(TaskStatus))
def test_a_workspace_has_work_while_tasks_are_queued_or_at_work(world: World, node: Nodes, status: TaskStatus) -> None:
    world.change_task(world.accept().task_id, status=status)
    assert node().has_work(world.key) == (status in {TaskStatus.QUEUED, TaskStatus.RUNNING})
    assert not node().has_work(make_world(world.database).key)


def test_the_tasks_of_a_node_are_those_that_run_under_its_name(world: World, node: Nodes) -> None:
    task = world.started()
    world.accept(world.session())
    assert node(HOST.node_id).running() == {task.id}
    assert node("another").running() == set()
    world.ledger().requeue(task)
    assert node(HOST.node_id).running() == set()


def test_a_task_belongs_on_its_agents_queue_while_it_is_queued(world: World, node: Nodes) -> None:
    world.agent("second")
    accepted = world.accept()
    queue = world.key.agent_queue("helper")
    assert node().belongs_on(accepted.task_id, queue)
    assert not node().belongs_on(accepted.task_id, world.key.agent_queue("second"))
    assert not node().belongs_on(accepted.task_id, make_world(world.database).key.agent_queue("helper"))
    assert not node().belongs_on(uuid4(), queue)
    world.start(accepted)
    assert not node().belongs_on(accepted.task_id, queue)
