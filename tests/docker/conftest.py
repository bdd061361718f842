"""The worker's image with pytest-celery: built, started beside a Redis of its own, and asked for a sign of life."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException
from pytest_celery import CeleryBrokerCluster, CeleryWorkerContainer, RedisTestBroker
from pytest_docker_tools import build, container, fxtr

from tests.docker.compose import service

ROOT = Path(__file__).resolve().parent.parent.parent
NO_ENGINE = "needs a Docker engine, and none answers"
START_SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name what needs an engine, where there is none."""
    in_containers = [item for item in items if "celery_setup" in getattr(item, "fixturenames", ())]
    if in_containers and not _an_engine_answers():
        for item in in_containers:
            item.add_marker(pytest.mark.skip(reason=NO_ENGINE))


def _an_engine_answers() -> bool:
    # The client leaves its socket to the garbage collector when nobody answers, which warns of it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _ping()
        gc.collect()
    return answers


def _ping() -> bool:
    try:
        client = docker.from_env(timeout=3)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


class Worker(CeleryWorkerContainer):
    """The container of a node, as the compose file runs it."""

    @classmethod
    def worker_name(cls) -> str:
        return "node"

    @classmethod
    def command(cls, *_arguments: str, **_options: object) -> list[str]:
        return list(service("worker")["command"])


@pytest.fixture
def default_worker_container_cls() -> type[CeleryWorkerContainer]:
    return Worker


@pytest.fixture
def default_worker_env(celery_worker_cluster_config: dict[str, dict[str, list[str]]]) -> dict[str, str]:
    """The least that a node needs to start; nothing answers at its database, which a sign of life does not need."""
    redis = celery_worker_cluster_config["celery_broker_cluster_config"]["urls"][0]
    return {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": redis,
        "BROKER_URL": redis,
        "JWT_SECRET": "only-for-this-container-and-of-more-than-32-bytes",
    }


@pytest.fixture
def celery_broker_cluster(celery_redis_broker: RedisTestBroker) -> Iterator[CeleryBrokerCluster]:
    """Redis alone, of the brokers that pytest-celery knows."""
    cluster = CeleryBrokerCluster(celery_redis_broker)
    yield cluster
    cluster.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """No result backend: a sign of life comes by the broker."""


worker_image = build(path=str(ROOT), tag="codelab-core:test")

default_worker_container = container(
    image="{worker_image.id}",
    environment=fxtr("default_worker_env"),
    command=fxtr("default_worker_command"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=Worker,
    timeout=START_SECONDS,
    # As in the compose file.
    read_only=True,
    tmpfs={"/tmp": "size=64m,mode=1777"},
    cap_drop=["ALL"],
    security_opt=["no-new-privileges:true"],
)
