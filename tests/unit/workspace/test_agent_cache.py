"""A config is kept for its time, never when a newer one is asked for, and never without bound."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from workspace.agent_cache import AgentCache, CachedAgent
from workspace.agent_config import AgentConfig

TTL = 300.0


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> AgentCache:
    return AgentCache(size=3, ttl=TTL, clock=clock)


def entry(version: int = 1) -> CachedAgent:
    return CachedAgent(version, AgentConfig(name="helper", system_prompt=f"version {version}"))


def test_an_entry_is_there_for_its_time_and_no_longer(cache: AgentCache, clock: Clock) -> None:
    agent = uuid4()
    cache.put(agent, entry())
    clock.now = TTL
    assert cache.get(agent, at_least=1) == entry()
    clock.now = TTL + 0.001
    assert cache.get(agent, at_least=1) is None


def test_looking_does_not_prolong_it_and_putting_does(cache: AgentCache, clock: Clock) -> None:
    agent = uuid4()
    cache.put(agent, entry())
    clock.now = TTL - 1
    assert cache.get(agent, at_least=1) is not None
    cache.put(agent, entry())
    clock.now = 2 * TTL - 1
    assert cache.get(agent, at_least=1) is not None
    clock.now = 2 * TTL
    assert cache.get(agent, at_least=1) is None


@pytest.mark.parametrize(("version", "at_least", "found"), [(2, 1, True), (2, 2, True), (2, 3, False)])
def test_an_older_version_than_asked_for_is_not_used(
    cache: AgentCache, version: int, at_least: int, found: bool
) -> None:
    agent = uuid4()
    cache.put(agent, entry(version))
    assert cache.get(agent, at_least=at_least) == (entry(version) if found else None)


def test_a_late_loader_does_not_replace_a_newer_version(cache: AgentCache) -> None:
    agent = uuid4()
    cache.put(agent, entry(2))
    cache.put(agent, entry(1))
    assert cache.get(agent, at_least=1) == entry(2)
    cache.put(agent, entry(3))
    assert cache.get(agent, at_least=1) == entry(3)


def test_what_was_not_used_for_longest_leaves_first(cache: AgentCache) -> None:
    first, second, third, fourth = (uuid4() for _ in range(4))
    for agent in (first, second, third):
        cache.put(agent, entry())
    cache.get(first, at_least=1)
    cache.put(fourth, entry())
    assert len(cache) == 3
    assert cache.get(second, at_least=1) is None
    assert all(cache.get(agent, at_least=1) for agent in (first, third, fourth))


def test_a_forgotten_agent_is_gone_and_its_neighbour_is_not(cache: AgentCache) -> None:
    first, second = uuid4(), uuid4()
    cache.put(first, entry())
    cache.put(second, entry())
    cache.invalidate(first)
    cache.invalidate(uuid4())
    assert cache.get(first, at_least=1) is None
    assert cache.get(second, at_least=1) is not None


def test_many_threads_at_once_keep_the_bound_and_get_what_they_asked_for() -> None:
    cache = AgentCache(size=10, ttl=TTL)
    agents = [uuid4() for _ in range(30)]

    def work(number: int) -> None:
        for turn in range(300):
            agent: UUID = agents[(number * 7 + turn) % len(agents)]
            if turn % 5 == 0:
                cache.invalidate(agent)
            cache.put(agent, entry(turn % 3 + 1))
            found = cache.get(agent, at_least=2)
            assert found is None or found.version >= 2
            assert len(cache) <= 11

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(cache) <= 10
