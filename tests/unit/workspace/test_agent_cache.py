"""The memory keeps a config for its time, never when a newer one is asked for, and never without bound.

Redis is away here, which changes nothing of that; what it does when it is there is tested with a real one.
"""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
import redis
from prometheus_client import REGISTRY
from redis.backoff import NoBackoff
from redis.retry import Retry
from structlog.testing import capture_logs

from tests.support.clock import Clock
from workspace.agent_cache import AgentCache
from workspace.agent_config import AgentConfig
from workspace.alerts import Alerts
from workspace.cached_agent import CachedAgent
from workspace.event_publisher import EventPublisher
from workspace.names import WorkspaceKey
from workspace.sparing import PAUSE

TTL = 300.0
KEY = WorkspaceKey(uuid4(), uuid4())
OTHER = WorkspaceKey(KEY.user_id, uuid4())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def at(port: int) -> redis.Redis:
    """A client that tries once."""
    return redis.Redis(port=port, socket_timeout=0.05, socket_connect_timeout=0.05, retry=Retry(NoBackoff(), 0))


def nowhere() -> redis.Redis:
    """A Redis where nobody listens."""
    return at(port=1)


def alerts(clock: Callable[[], float] = time.monotonic) -> Alerts:
    client = nowhere()
    return Alerts(client, EventPublisher(client, buffer_size=10, buffer_ttl=10), clock=clock)


@pytest.fixture
def cache(clock: Clock) -> AgentCache:
    return AgentCache(size=3, ttl=TTL, client=nowhere(), alerts=alerts(), clock=clock)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def overflows() -> float:
    return counted("codelab_agent_cache_overflows_total")


def entry(version: int = 1) -> CachedAgent:
    return CachedAgent(version, AgentConfig(name="helper", system_prompt=f"version {version}"))


def test_an_entry_is_there_for_its_time_and_no_longer(cache: AgentCache, clock: Clock) -> None:
    agent = uuid4()
    cache.put(KEY, agent, entry())
    clock.now = TTL
    assert cache.get(KEY, agent, at_least=1) == entry()
    clock.now = TTL + 0.001
    assert cache.get(KEY, agent, at_least=1) is None


def test_looking_does_not_prolong_it_and_putting_does(cache: AgentCache, clock: Clock) -> None:
    agent = uuid4()
    cache.put(KEY, agent, entry())
    clock.now = TTL - 1
    assert cache.get(KEY, agent, at_least=1) is not None
    cache.put(KEY, agent, entry())
    clock.now = 2 * TTL - 1
    assert cache.get(KEY, agent, at_least=1) is not None
    clock.now = 2 * TTL
    assert cache.get(KEY, agent, at_least=1) is None


@pytest.mark.parametrize(("version", "at_least", "found"), [(2, 1, True), (2, 2, True), (2, 3, False)])
def test_an_older_version_than_asked_for_is_not_used(
    cache: AgentCache, version: int, at_least: int, found: bool
) -> None:
    agent = uuid4()
    cache.put(KEY, agent, entry(version))
    assert cache.get(KEY, agent, at_least=at_least) == (entry(version) if found else None)


def test_a_late_loader_does_not_replace_a_newer_version(cache: AgentCache) -> None:
    agent = uuid4()
    cache.put(KEY, agent, entry(2))
    cache.put(KEY, agent, entry(1))
    assert cache.get(KEY, agent, at_least=1) == entry(2)
    cache.put(KEY, agent, entry(3))
    assert cache.get(KEY, agent, at_least=1) == entry(3)


def test_what_was_not_used_for_longest_leaves_first(cache: AgentCache) -> None:
    first, second, third, fourth = (uuid4() for _ in range(4))
    for agent in (first, second, third):
        cache.put(KEY, agent, entry())
    cache.get(KEY, first, at_least=1)
    cache.put(KEY, fourth, entry())
    assert len(cache) == 3
    assert cache.get(KEY, second, at_least=1) is None
    assert all(cache.get(KEY, agent, at_least=1) for agent in (first, third, fourth))


def test_a_forgotten_agent_is_gone_and_its_neighbour_is_not(cache: AgentCache) -> None:
    first, second = uuid4(), uuid4()
    cache.put(KEY, first, entry())
    cache.put(KEY, second, entry())
    cache.invalidate(KEY, first)
    cache.invalidate(KEY, uuid4())
    assert cache.get(KEY, first, at_least=1) is None
    assert cache.get(KEY, second, at_least=1) is not None


def test_many_threads_at_once_keep_the_bound_and_get_what_they_asked_for() -> None:
    cache = AgentCache(size=10, ttl=TTL, client=nowhere(), alerts=alerts())
    agents = [uuid4() for _ in range(30)]

    def work(number: int) -> None:
        for turn in range(300):
            agent: UUID = agents[(number * 7 + turn) % len(agents)]
            if turn % 5 == 0:
                cache.invalidate(KEY, agent)
            cache.put(KEY, agent, entry(turn % 3 + 1))
            found = cache.get(KEY, agent, at_least=2)
            assert found is None or found.version >= 2
            assert len(cache) <= 11

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(cache) <= 10


def test_an_agent_is_not_found_under_the_key_of_another_workspace(cache: AgentCache) -> None:
    agent = uuid4()
    cache.put(KEY, agent, entry())
    for foreign in (OTHER, WorkspaceKey(uuid4(), KEY.project_id)):
        assert cache.get(foreign, agent, at_least=1) is None
        cache.invalidate(foreign, agent)
        cache.clear(foreign, [agent])
    assert cache.get(KEY, agent, at_least=1) == entry()


def test_clearing_a_workspace_forgets_its_agents_and_no_others(cache: AgentCache) -> None:
    first, second, neighbour = (uuid4() for _ in range(3))
    cache.put(KEY, first, entry())
    cache.put(KEY, second, entry())
    cache.put(OTHER, neighbour, entry())
    assert (cache.size(KEY), cache.size(OTHER)) == (2, 1)
    cache.clear(KEY)
    assert (cache.size(KEY), cache.size(OTHER)) == (0, 1)
    assert cache.get(KEY, first, at_least=1) is None
    assert cache.get(OTHER, neighbour, at_least=1) == entry()


def test_the_size_of_a_workspace_is_what_is_in_memory_of_it(cache: AgentCache, clock: Clock) -> None:
    agents = [uuid4() for _ in range(4)]
    assert cache.size(KEY) == 0
    for agent in agents[:3]:
        cache.put(KEY, agent, entry())
        cache.put(KEY, agent, entry(2))
    assert cache.size(KEY) == 3
    cache.put(OTHER, agents[3], entry())
    assert (cache.size(KEY), cache.size(OTHER)) == (2, 1)
    cache.invalidate(KEY, agents[1])
    assert cache.size(KEY) == 1
    clock.now = TTL + 0.001
    assert (cache.size(KEY), len(cache)) == (0, 0)


def test_an_entry_that_leaves_before_its_time_is_counted(cache: AgentCache) -> None:
    before = overflows()
    for _ in range(5):
        cache.put(KEY, uuid4(), entry())
    assert overflows() - before == 2
    assert len(cache) == 3


def test_a_memory_that_is_too_small_raises_an_alert_once_a_minute(clock: Clock) -> None:
    cache = AgentCache(size=3, ttl=TTL, client=nowhere(), alerts=alerts(clock), clock=clock)
    with capture_logs() as logs:
        for _ in range(10):
            cache.put(KEY, uuid4(), entry())
        clock.now += 60
        cache.put(KEY, uuid4(), entry())
    raised = [line for line in logs if line["event"] == "alert"]
    assert [(line["kind"], line["facts"], line["held_back"]) for line in raised] == [
        ("cache_overflow", {"size": 3}, 0),
        ("cache_overflow", {"size": 3}, 6),
    ]


def test_entries_whose_time_is_over_make_room_and_are_not_counted(cache: AgentCache, clock: Clock) -> None:
    used = uuid4()
    cache.put(KEY, used, entry())
    cache.put(KEY, uuid4(), entry())
    clock.now = 100.0
    young = uuid4()
    cache.put(KEY, young, entry())
    before = overflows()
    clock.now = TTL
    cache.get(KEY, used, at_least=1)  # not the one that was not used for longest
    clock.now = TTL + 1
    newest = [uuid4(), uuid4()]
    for agent in newest:
        cache.put(KEY, agent, entry())
    assert overflows() == before
    assert all(cache.get(KEY, agent, at_least=1) for agent in (young, *newest))


def test_what_is_kept_of_entries_that_left_is_bounded(cache: AgentCache) -> None:
    agent = uuid4()
    for _ in range(100):
        cache.put(KEY, agent, entry())
        cache.invalidate(KEY, agent)
        cache.put(KEY, agent, entry())
    assert len(cache._ends) <= 2 * 3
    assert cache._agents == {KEY: {agent}}


def test_a_hit_asks_redis_nothing(clock: Clock) -> None:
    agent = uuid4()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cache = AgentCache(size=3, ttl=TTL, client=at(listener.getsockname()[1]), alerts=alerts(), clock=clock)
        cache.put(KEY, agent, entry())
        listener.settimeout(5)
        listener.accept()[0].close()  # the put was told to it
        clock.now = PAUSE + 1
        hits = counted("codelab_agent_cache_lookups_total", result="hit")
        assert all(cache.get(KEY, agent, at_least=1) for _ in range(10))
        assert counted("codelab_agent_cache_lookups_total", result="hit") - hits == 10
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert cache.get(KEY, uuid4(), at_least=1) is None
        listener.settimeout(5)
        listener.accept()[0].close()  # a lookup that the memory cannot answer is
