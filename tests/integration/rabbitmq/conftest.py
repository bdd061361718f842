"""What the tests over RabbitMQ share: one broker and one web process; most share a node as well."""

from collections.abc import Iterator

import httpx
import pytest

from models.database import build_database
from models.tenancy import Database
from tests.integration.rabbitmq.system import OwnNode, System, own_system
from tests.support.api import ApiClient
from tests.support.rabbitmq import RabbitMq, is_installed, own_rabbitmq
from tests.support.stack import Stack

NOT_INSTALLED = "needs `rabbitmq-server`, which is not installed (Debian: apt-get install rabbitmq-server)"


@pytest.fixture(scope="package")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """A RabbitMQ of this run's own."""
    if not is_installed():
        pytest.skip(NOT_INSTALLED)
    with own_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture(scope="package")
def system(
    rabbitmq: RabbitMq, stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system whose broker it is, without a node."""
    with own_system(stack, http, rabbitmq, tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture(scope="module")
def node(system: System) -> Iterator[OwnNode]:
    """A node that a module's tests share, and that takes as many agents of one user as there are."""
    with system.node(USER_ATTACHED_AGENTS=5_000) as running:
        yield running


@pytest.fixture
def user(system: System) -> ApiClient:
    """A new user of the system over RabbitMQ."""
    return system.user()


@pytest.fixture(scope="package")
def database(system: System) -> Iterator[Database]:
    """Its database."""
    opened = build_database(system.settings(), application_name="codelab-tests")
    yield opened
    opened.close()
