"""Processes share configs through Redis, and PostgreSQL is asked whenever that is not surely right."""

import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bootstrap import redis_client
from models.tenancy import Database
from settings import load_settings
from tests.integration.core.world import World, make_world
from tests.support.clock import Clock
from tests.support.proxy import Proxy, proxy
from workspace.agent_cache import AgentCache
from workspace.agent_config import AgentConfig
from workspace.agent_store import AgentStore
from workspace.alerts import Alerts
from workspace.cached_agent import CachedAgent
from workspace.event_publisher import EventPublisher
from workspace.names import WorkspaceKey
from workspace.sparing import PAUSE

pytestmark = pytest.mark.stack

TTL = 300.0
KEY = WorkspaceKey(uuid4(), uuid4())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def shared() -> Iterator[redis.Redis]:
    """The store that the settings name for caches."""
    settings = load_settings()
    with redis_client(settings, url=settings.cache) as client:
        yield client


@pytest.fixture
def make_cache(shared: redis.Redis, store: redis.Redis, publisher: EventPublisher, clock: Clock) -> Any:
    """A maker of caches, each as in a process of its own."""
    alerts = Alerts(store, publisher)
    return lambda **options: AgentCache(
        **{"size": 100, "ttl": TTL, "client": shared, "alerts": alerts, "clock": clock, **options}
    )


@pytest.fixture
def agent() -> UUID:
    return uuid4()


def entry(version: int = 1) -> CachedAgent:
    config = {
        "name": "helper",
        "system_prompt": f"version {version} \u2713",
        "tools": ["read_file"],
        "temperature": 0.7,
    }
    return CachedAgent(version, AgentConfig.model_validate({**config, "limits": {"timeout_seconds": 5}}))


def lookups() -> dict[str, float]:
    name = "codelab_agent_cache_lookups_total"
    return {
        result: REGISTRY.get_sample_value(name, {"result": result}) or 0.0 for result in ("hit", "hit_redis", "miss")
    }


def since(before: dict[str, float]) -> dict[str, float]:
    return {result: count - before[result] for result, count in lookups().items() if count != before[result]}


# -- two processes ---------------------------------------------------------------------------------------------------


def test_what_one_process_loaded_another_finds_in_redis_and_then_in_its_memory(make_cache: Any, agent: UUID) -> None:
    ours, theirs = make_cache(), make_cache()
    ours.put(KEY, agent, entry())
    before = lookups()
    assert [theirs.get(KEY, agent, at_least=1) for _ in range(3)] == [entry()] * 3
    assert since(before) == {"hit_redis": 1, "hit": 2}
    assert theirs.size(KEY) == 1


def test_an_entry_is_kept_under_the_key_of_its_tenant_and_expires(
    make_cache: Any, agent: UUID, shared: redis.Redis
) -> None:
    make_cache().put(KEY, agent, entry())
    name = f"user{KEY.user_id}:project{KEY.project_id}:agent:{agent}:config"
    assert shared.exists(name) == 1
    assert TTL - 5 < shared.ttl(name) <= TTL
    for foreign in (WorkspaceKey(uuid4(), KEY.project_id), WorkspaceKey(KEY.user_id, uuid4())):
        assert make_cache().get(foreign, agent, at_least=1) is None


def test_an_older_version_than_asked_for_is_not_taken_from_redis(make_cache: Any, agent: UUID) -> None:
    make_cache().put(KEY, agent, entry(2))
    before = lookups()
    assert make_cache().get(KEY, agent, at_least=3) is None
    assert make_cache().get(KEY, agent, at_least=2) == entry(2)
    assert since(before) == {"miss": 1, "hit_redis": 1}


def test_a_newer_version_in_redis_replaces_the_older_one_in_memory(make_cache: Any, agent: UUID) -> None:
    ours, theirs = make_cache(), make_cache()
    ours.put(KEY, agent, entry(1))
    theirs.put(KEY, agent, entry(2))
    assert ours.get(KEY, agent, at_least=1) == entry(1)
    assert ours.get(KEY, agent, at_least=2) == entry(2)
    assert ours.get(KEY, agent, at_least=1) == entry(2)


def test_a_late_loader_does_not_replace_a_newer_version_in_redis(make_cache: Any, agent: UUID) -> None:
    make_cache().put(KEY, agent, entry(10))
    make_cache().put(KEY, agent, entry(9))
    assert make_cache().get(KEY, agent, at_least=1) == entry(10)
    make_cache().put(KEY, agent, entry(11))
    assert make_cache().get(KEY, agent, at_least=1) == entry(11)


def test_the_way_through_redis_does_not_prolong_an_entrys_life(
    make_cache: Any, agent: UUID, shared: redis.Redis, clock: Clock
) -> None:
    make_cache().put(KEY, agent, entry())
    shared.pexpire(KEY.agent_config(agent), 20_000)
    late = make_cache()
    assert late.get(KEY, agent, at_least=1) == entry()
    shared.delete(KEY.agent_config(agent))
    clock.now = 19.0
    assert late.get(KEY, agent, at_least=1) == entry()
    clock.now = 20.1
    assert late.get(KEY, agent, at_least=1) is None


def test_a_forgotten_agent_is_gone_from_both_levels(make_cache: Any, agent: UUID) -> None:
    neighbour = uuid4()
    ours, theirs = make_cache(), make_cache()
    for each in (agent, neighbour):
        ours.put(KEY, each, entry())
    theirs.invalidate(KEY, agent)
    assert theirs.get(KEY, agent, at_least=1) is None
    assert theirs.get(KEY, neighbour, at_least=1) == entry()


def test_clearing_removes_the_known_and_the_named_agents_of_one_workspace(make_cache: Any, shared: redis.Redis) -> None:
    known, named, unknown, foreign = (uuid4() for _ in range(4))
    key, other = WorkspaceKey(uuid4(), uuid4()), WorkspaceKey(KEY.user_id, uuid4())
    ours, theirs = make_cache(), make_cache()
    ours.put(key, known, entry())
    theirs.put(key, named, entry())
    theirs.put(key, unknown, entry())
    ours.put(other, foreign, entry())
    ours.clear(key, [named, foreign])
    assert ours.size(key) == 0
    left = {each for each in (known, named, unknown) if shared.exists(key.agent_config(each))}
    assert left == {unknown}
    assert shared.exists(other.agent_config(foreign))
    assert ours.get(other, foreign, at_least=1) == entry()


def test_more_agents_than_one_command_takes_are_cleared(make_cache: Any, shared: redis.Redis) -> None:
    key, agents = WorkspaceKey(uuid4(), uuid4()), [uuid4() for _ in range(1_203)]
    cache = make_cache(size=2_000)
    for each in agents:
        cache.put(key, each, entry())
    names = [key.agent_config(each) for each in agents]
    assert shared.exists(*names) == len(agents)
    cache.clear(key)
    assert shared.exists(*names) == 0


# -- what Redis may do ------------------------------------------------------------------------------------------------

GARBAGE = [
    b"",
    b"\xff\xfe",
    b"no JSON",
    b"[]",
    b"null",
    b'{"version":1}',
    b'{"version":9,"config":null}',
    b'{"version":9,"config":{"name":"NOT A NAME"}}',
    b'{"version":9,"config":{"name":"helper","unknown":1}}',
    b'{"version":9,"config":{"name":"helper","concurrency_limit":51}}',
    b'{"version":"9","config":{"name":"helper"}}',
    b'{"version":true,"config":{"name":"helper"}}',
    b'{"version":0,"config":{"name":"helper"}}',
    b'{"version":9.5,"config":{"name":"helper"}}',
    b'{"version":9,"config":{"name":"helper"},"more":1}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("value", GARBAGE, ids=range(len(GARBAGE)))
def test_what_is_no_config_counts_as_none_and_is_replaced(
    make_cache: Any, agent: UUID, shared: redis.Redis, value: bytes
) -> None:
    shared.set(KEY.agent_config(agent), value, px=60_000)
    cache = make_cache()
    before = lookups()
    with capture_logs() as logs:
        assert cache.get(KEY, agent, at_least=1) is None
    assert since(before) == {"miss": 1}
    assert [line["event"] for line in logs] == ["agent_cache_garbage"]
    cache.put(KEY, agent, entry())
    assert make_cache().get(KEY, agent, at_least=1) == entry()


def test_a_value_of_another_type_counts_as_none_and_is_replaced(
    make_cache: Any, agent: UUID, shared: redis.Redis
) -> None:
    name = KEY.agent_config(agent)
    shared.rpush(name, "a list")
    cache = make_cache()
    with capture_logs() as logs:
        assert cache.get(KEY, agent, at_least=1) is None
    assert [line["event"] for line in logs] == ["agent_cache_garbage"]
    shared.rpush(name, "again")
    cache.put(KEY, agent, entry())
    assert make_cache().get(KEY, agent, at_least=1) == entry()


def test_a_key_that_never_expires_is_none_of_ours(make_cache: Any, agent: UUID, shared: redis.Redis) -> None:
    make_cache().put(KEY, agent, entry(9))
    shared.persist(KEY.agent_config(agent))
    assert make_cache().get(KEY, agent, at_least=1) is None
    make_cache().put(KEY, agent, entry(9))
    shared.persist(KEY.agent_config(agent))
    make_cache().put(KEY, agent, entry(1))
    assert make_cache().get(KEY, agent, at_least=1) == entry(1)
    assert shared.ttl(KEY.agent_config(agent)) > 0


def test_garbage_is_logged_once_in_a_while_and_never_shown(
    make_cache: Any, agent: UUID, shared: redis.Redis, clock: Clock
) -> None:
    cache = make_cache()
    secret = b'{"version":1,"config":{"name":"helper","system_prompt":5,"of a tenant":"a secret"}}'

    def meet() -> list[Any]:
        shared.set(KEY.agent_config(agent), secret, px=60_000)
        with capture_logs() as logs:
            assert cache.get(KEY, agent, at_least=1) is None
        return logs

    assert len(meet()) == 1
    assert [meet() for _ in range(3)] == [[], [], []]
    clock.now += 61
    (line,) = meet()
    assert line["held_back"] == 3
    assert "a secret" not in str(line)


@pytest.fixture
def wire() -> Iterator[Proxy]:
    """A way to the store that a test can cut."""
    with proxy(load_settings().cache) as running:
        yield running


def test_a_redis_that_is_away_costs_a_look_into_postgres_only(
    make_cache: Any, agent: UUID, wire: Proxy, clock: Clock
) -> None:
    client = redis_client(load_settings(), url=wire.url)
    cache = make_cache(client=client)
    cache.put(KEY, agent, entry())
    wire.cut()
    with capture_logs() as logs:
        for _ in range(5):
            clock.now += PAUSE
            assert cache.get(KEY, uuid4(), at_least=1) is None
            cache.put(KEY, agent, entry(2))
            cache.invalidate(KEY, agent)
            cache.clear(KEY, [agent])
    assert [line["event"] for line in logs] == ["agent_cache_away"]
    cache.put(KEY, agent, entry(3))
    assert cache.get(KEY, agent, at_least=1) == entry(3)
    wire.mend()
    clock.now += PAUSE
    cache.put(KEY, agent, entry(4))
    assert make_cache().get(KEY, agent, at_least=1) == entry(4)
    client.close()


def test_a_redis_that_hangs_is_waited_for_once_and_then_left_alone_for_a_while(
    make_cache: Any, agent: UUID, clock: Clock, hanging: redis.Redis
) -> None:
    cache = make_cache(client=hanging)
    started = time.monotonic()
    assert cache.get(KEY, agent, at_least=1) is None
    once = time.monotonic() - started
    assert once > 0.1
    started = time.monotonic()
    for _ in range(100):
        assert cache.get(KEY, uuid4(), at_least=1) is None
        cache.put(KEY, agent, entry())
        assert cache.get(KEY, agent, at_least=1) == entry()
    assert time.monotonic() - started < once * 50
    clock.now += PAUSE
    started = time.monotonic()
    cache.get(KEY, uuid4(), at_least=1)
    assert time.monotonic() - started > 0.1


@pytest.fixture
def hanging() -> Iterator[redis.Redis]:
    """A server that takes connections and never says a word."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        redis_client(
            load_settings().model_copy(update={"redis_timeout": 0.2}),
            url=f"redis://127.0.0.1:{listener.getsockname()[1]}/3",
        ) as client,
    ):
        yield client


# -- with the rows ----------------------------------------------------------------------------------------------------


@pytest.fixture
def agents(database: Database, make_cache: Any) -> AgentStore:
    return AgentStore(database, make_cache())


def another(database: Database, make_cache: Any) -> AgentStore:
    """The same in another process."""
    return AgentStore(database, make_cache())


def test_a_task_gets_at_least_the_version_that_it_was_accepted_with(
    world: World, database: Database, agents: AgentStore, make_cache: Any
) -> None:
    changed = AgentConfig(name="helper", system_prompt="New.")
    first = agents.config(world.key, world.agent_id, 1)
    assert first is not None
    assert first.system_prompt != "New."
    other = another(database, make_cache)
    other.replace(world.key, world.agent_id, changed)
    assert agents.config(world.key, world.agent_id, 2) == changed
    assert another(database, make_cache).config(world.key, world.agent_id, 2) == changed


def test_a_config_is_read_from_redis_before_the_rows(
    world: World, database: Database, agents: AgentStore, make_cache: Any
) -> None:
    loaded = agents.config(world.key, world.agent_id, 1)
    before = lookups()
    assert another(database, make_cache).config(world.key, world.agent_id, 1) == loaded
    assert since(before) == {"hit_redis": 1}


def test_a_late_older_value_in_redis_is_not_used_for_a_newer_task(
    world: World, database: Database, make_cache: Any
) -> None:
    old = another(database, make_cache).config(world.key, world.agent_id, 1)
    assert old is not None
    changed = AgentConfig(name="helper", system_prompt="New.")
    another(database, make_cache).replace(world.key, world.agent_id, changed)
    make_cache().put(world.key, world.agent_id, CachedAgent(1, old))  # who read the row before the change
    assert another(database, make_cache).config(world.key, world.agent_id, 2) == changed


def test_replacing_and_deleting_an_agent_clears_its_key(world: World, agents: AgentStore, shared: redis.Redis) -> None:
    name = world.key.agent_config(world.agent_id)
    agents.config(world.key, world.agent_id, 1)
    assert shared.exists(name)
    agents.replace(world.key, world.agent_id, AgentConfig(name="helper", system_prompt="New."))
    assert not shared.exists(name)
    agents.config(world.key, world.agent_id, 1)
    assert shared.exists(name)
    agents.delete(world.key, world.agent_id)
    assert not shared.exists(name)
    assert agents.config(world.key, world.agent_id, 1) is None


def test_an_agent_is_not_found_for_another_tenant_however_often_it_was_cached(
    world: World, database: Database, agents: AgentStore
) -> None:
    stranger = make_world(database)
    assert agents.config(world.key, world.agent_id, 1) is not None
    for key in (stranger.key, world.project().key, WorkspaceKey(stranger.key.user_id, world.key.project_id)):
        assert agents.config(key, world.agent_id, 1) is None
