"""A lease says who hosts a workspace: one node at a time, whatever lapses, is given up or gets lost."""

from functools import partial
from uuid import UUID, uuid4

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.integration.core.conftest import TTL
from tests.integration.core.world import together
from tests.support.stack import Stack
from tests.support.waiting import eventually
from workspace.leases import Leases, Take
from workspace.names import LEASES_SINCE, WorkspaceKey

pytestmark = pytest.mark.stack

BRIEF = 0.4
"""Seconds that a lease lives where a test waits for its end."""


def new_key() -> WorkspaceKey:
    return WorkspaceKey(uuid4(), uuid4())


@pytest.fixture
def key() -> WorkspaceKey:
    return new_key()


def owner(client: redis.Redis, key: WorkspaceKey) -> str | None:
    value = client.get(key.lease)
    return value.decode() if isinstance(value, bytes) else None


# -- taking ------------------------------------------------------------------------------------------------------


def test_a_lease_is_taken_once_and_kept_by_its_node(leases: Leases, key: WorkspaceKey) -> None:
    assert leases.take(key, "first", from_another=False) is Take.TAKEN
    assert leases.take(key, "first", from_another=False) is Take.TAKEN
    for from_another in (True, False):
        assert leases.take(key, "second", from_another=from_another) is Take.HELD


def test_of_many_takers_at_once_one_has_it(leases: Leases, old_redis: redis.Redis) -> None:
    for _ in range(20):
        key = new_key()
        results = together([partial(leases.take, key, f"{number}", from_another=True) for number in range(20)])
        assert results.count(Take.TAKEN) == 1, results
        assert results.count(Take.HELD) == 19, results
        assert owner(old_redis, key) == str(results.index(Take.TAKEN))


def test_a_lease_that_nobody_renews_lapses_after_its_time(old_redis: redis.Redis, key: WorkspaceKey) -> None:
    leases = Leases(old_redis, ttl=BRIEF)
    assert leases.take(key, "first", from_another=False) is Take.TAKEN
    assert leases.take(key, "second", from_another=True) is Take.HELD
    eventually(lambda: leases.take(key, "second", from_another=True) is Take.TAKEN, "the lease lapses")


@pytest.mark.parametrize("how", ["take", "renew"])
def test_a_lease_that_is_renewed_begins_its_time_anew(leases: Leases, old_redis: redis.Redis, how: str) -> None:
    key = new_key()
    leases.take(key, "first", from_another=False)
    old_redis.pexpire(key.lease, 60_000 if how == "take" else 500)
    if how == "take":
        leases.take(key, "first", from_another=False)
    else:
        leases.renew("first", [key])
    left = old_redis.pttl(key.lease)
    assert isinstance(left, int)
    assert TTL * 900 < left <= TTL * 1_000


# -- a Redis that lost its data ----------------------------------------------------------------------------------


def test_in_a_new_redis_nothing_is_taken_from_another_for_one_lifetime(
    new_redis: redis.Redis, key: WorkspaceKey
) -> None:
    leases = Leases(new_redis, ttl=BRIEF)
    assert leases.take(key, "second", from_another=True) is Take.UNSETTLED
    assert leases.silent([key]) == set()
    since = new_redis.get(LEASES_SINCE)
    assert owner(new_redis, key) is None, "who may not have it leaves nothing behind"
    eventually(lambda: leases.silent([key]) == {key}, "the lifetime is over")
    assert leases.take(key, "second", from_another=True) is Take.TAKEN
    assert new_redis.get(LEASES_SINCE) == since, "asking makes it no younger"


def test_in_a_new_redis_the_host_takes_its_own_again_and_free_ones_are_taken(
    new_redis: redis.Redis, key: WorkspaceKey
) -> None:
    leases = Leases(new_redis, ttl=TTL)
    mine, free = new_key(), new_key()
    assert leases.renew("first", [mine]) == (frozenset({mine}), frozenset())
    assert leases.take(free, "second", from_another=False) is Take.TAKEN
    assert leases.take(mine, "second", from_another=True) is Take.HELD
    assert leases.take(key, "second", from_another=True) is Take.UNSETTLED


@pytest.mark.parametrize("first", ["take", "renew", "silent"])
def test_the_first_call_of_all_notes_since_when_redis_has_its_data(
    new_redis: redis.Redis, key: WorkspaceKey, first: str
) -> None:
    leases = Leases(new_redis, ttl=TTL)
    calls = {
        "take": partial(leases.take, key, "first", from_another=True),
        "renew": partial(leases.renew, "first", [key]),
        "silent": partial(leases.silent, [key]),
    }
    calls[first]()
    (seconds, microseconds) = new_redis.time()
    noted = new_redis.get(LEASES_SINCE)
    assert isinstance(noted, bytes)
    assert abs(int(noted) - (seconds * 1_000 + microseconds // 1_000)) < 5_000
    assert new_redis.ttl(LEASES_SINCE) == -1


# -- renewing, releasing, looking --------------------------------------------------------------------------------


def test_a_renewal_tells_what_was_missing_and_what_is_anothers(leases: Leases, old_redis: redis.Redis) -> None:
    mine, lapsed, taken = new_key(), new_key(), new_key()
    for each in (mine, lapsed):
        leases.take(each, "first", from_another=False)
    old_redis.delete(lapsed.lease)
    leases.take(taken, "second", from_another=False)
    assert leases.renew("first", [mine, lapsed, taken]) == (frozenset({lapsed}), frozenset({taken}))
    assert [owner(old_redis, each) for each in (mine, lapsed, taken)] == ["first", "first", "second"]
    assert leases.renew("first", []) == (frozenset(), frozenset())


def test_a_release_gives_up_what_is_ones_own_alone(leases: Leases, old_redis: redis.Redis) -> None:
    mine, theirs = new_key(), new_key()
    leases.take(mine, "first", from_another=False)
    leases.take(theirs, "second", from_another=False)
    leases.release("first", [mine, theirs, new_key()])
    leases.release("first", [])
    assert (owner(old_redis, mine), owner(old_redis, theirs)) == (None, "second")


def test_silent_are_those_without_a_lease(leases: Leases) -> None:
    mine, nobodys = new_key(), new_key()
    leases.take(mine, "first", from_another=False)
    assert leases.silent([mine, nobodys]) == {nobodys}
    assert leases.silent([]) == set()


def test_a_thousand_leases_are_renewed_in_one_call(leases: Leases, old_redis: redis.Redis) -> None:
    keys = [new_key() for _ in range(1_000)]
    assert len(leases.renew("first", keys).retaken) == 1_000
    before = old_redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert leases.renew("first", keys) == (frozenset(), frozenset())
    assert old_redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before < 10


# -- any sequence of all this ------------------------------------------------------------------------------------

NODES = ("a", "b", "c")
KEYS = tuple(WorkspaceKey(UUID(int=1), UUID(int=number)) for number in range(2))
nodes, keys = st.sampled_from(NODES), st.sampled_from(KEYS)


class AnySequence(RuleBasedStateMachine):
    """Nodes claim, renew and give up; leases lapse; Redis loses its data. Rows are kept as Postgres keeps them.

    A node is sure of a workspace from its claim until it gives it up, is told that it lost it, or was silent for so
    long that its fence stopped its work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.client = redis.Redis.from_url(Stack.of_environment().redis_url)
        self.client.connection_pool.connection_kwargs["db"] = 12
        self.leases = Leases(self.client, ttl=60)
        self.rows: dict[WorkspaceKey, str | None] = dict.fromkeys(KEYS)
        self.sure: dict[WorkspaceKey, set[str]] = {key: set() for key in KEYS}
        self.is_young = False

    @initialize()
    def begin(self) -> None:
        self.client.flushdb()
        self.client.set(LEASES_SINCE, 0)

    def teardown(self) -> None:
        self.client.flushdb()
        self.client.close()

    @rule(node=nodes, key=keys)
    def claim(self, node: str, key: WorkspaceKey) -> None:
        row = self.rows[key]
        taken = self.leases.take(key, node, from_another=row not in {None, node})
        if taken is Take.TAKEN:
            self.rows[key] = node
            self.sure[key].add(node)
        elif node not in self.sure[key]:
            assert row != node or owner(self.client, key) != node
        if self.is_young and row not in {None, node}:
            assert taken is not Take.TAKEN, "its host may live"

    @rule(node=nodes)
    def renew(self, node: str) -> None:
        hosted = [key for key in KEYS if node in self.sure[key]]
        if hosted:
            renewal = self.leases.renew(node, hosted)
            for key in hosted:
                if key in renewal.lost or (key in renewal.retaken and self.rows[key] != node):
                    self.sure[key].discard(node)
                    self.leases.release(node, [key])

    @rule(node=nodes, key=keys)
    def give_up(self, node: str, key: WorkspaceKey) -> None:
        if node in self.sure[key]:
            self.sure[key].discard(node)
            if self.rows[key] == node:
                self.rows[key] = None
            self.leases.release(node, [key])

    @rule(key=keys)
    def stay_silent_until_the_lease_lapses(self, key: WorkspaceKey) -> None:
        """The fence comes before the end of the lease."""
        self.sure[key].clear()
        self.client.delete(key.lease)

    @rule()
    def lose_all_data(self) -> None:
        self.client.flushdb()
        self.is_young = True

    @rule(living=st.sets(nodes))
    def let_a_lifetime_pass_after_the_loss(self, living: set[str]) -> None:
        """Who lives renews meanwhile, who does not is fenced."""
        if self.is_young:
            for node in NODES:
                if node in living:
                    self.renew(node)
                else:
                    for key in KEYS:
                        self.sure[key].discard(node)
            self.client.set(LEASES_SINCE, 0)
            self.is_young = False

    @invariant()
    def nobody_has_two_owners(self) -> None:
        for key in KEYS:
            assert len(self.sure[key]) <= 1, self.sure[key]
            assert self.sure[key] <= {self.rows[key]}


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
