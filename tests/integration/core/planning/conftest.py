"""A planner with the stack's model and Redis, and what it counts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from orchestrator.planner.cache import PlanCache
from orchestrator.planner.model_planner import ModelPlanner
from settings import Settings, load_settings
from tests.support.stack import Stack
from workspace.llm import ModelClient

OPEN_FOR = 1_000
"""Seconds that plans are kept in these tests."""


@pytest.fixture
def settings(stack: Stack) -> Settings:
    return load_settings().model_copy(update={"openai_base_url": stack.model_url, "model_backoff_max": 1.0})


MakePlanner = Callable[..., AbstractContextManager[ModelPlanner]]


@pytest.fixture
def make_planner(settings: Settings, new_redis: redis.Redis) -> MakePlanner:
    """Make a planner; the keywords are settings."""

    @contextmanager
    def make(*, client: redis.Redis = new_redis, **changes: Any) -> Iterator[ModelPlanner]:
        changed = settings.model_copy(update=changes)
        model = ModelClient(changed)
        try:
            yield ModelPlanner(model, PlanCache(client, ttl=OPEN_FOR), changed)
        finally:
            model.close()

    return make


@pytest.fixture
def planner(make_planner: MakePlanner) -> Iterator[ModelPlanner]:
    with make_planner() as planner:
        yield planner


@pytest.fixture
def counted() -> Callable[..., float]:
    """How much a counter has grown since the test began."""

    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"codelab_{name}", labels) or 0.0

    begun: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            begun[sample.name.removeprefix("codelab_"), tuple(sorted(sample.labels.items()))] = sample.value

    def grown(name: str, **labels: str) -> float:
        return value(name, **labels) - begun.get((name, tuple(sorted(labels.items()))), 0.0)

    return grown
