"""What every test may ask for. Each test has users of its own, so no test sees what another one does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import hypothesis
import pytest
import redis
from flask import Flask

from models.database import build_database
from models.tenancy import Database
from settings import load_settings
from tests.support.api import ApiClient
from tests.support.offline import build_app
from tests.support.processes import own_api
from tests.support.proxy import Proxy, proxy
from tests.support.stack import IS_RUNNING, Stack
from tests.support.standin import Standin
from workspace.event_publisher import EventPublisher

NO_STACK = "needs the stack that `make test` starts (API_URL is not set)"

# The cores are shared: how long an example takes says nothing of it.
hypothesis.settings.register_profile("shared_cores", deadline=None)
hypothesis.settings.load_profile("shared_cores")

MakeUser = Callable[[], ApiClient]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by name what needs a stack, where there is none; where there is one, try what failed on it once more.

    A dozen processes share the machine's cores with whatever else runs there, and any of them may be silent for
    seconds. Each second try is told at the end of the run as a RERUN, with its reason.
    """
    for item in items:
        if item.get_closest_marker("stack"):
            again = pytest.mark.flaky(reruns=1, reruns_delay=1)
            item.add_marker(again if IS_RUNNING else pytest.mark.skip(reason=NO_STACK))


@pytest.fixture(scope="session")
def app() -> Flask:
    """The API as an object, to be looked at: nothing connects. Requests go to the stack's own process."""
    return build_app()


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The stack that the launcher started for this run."""
    return Stack.of_environment()


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """Connections that all users of a run share."""
    with httpx.Client(trust_env=False, timeout=30, verify=False) as client:
        yield client


@pytest.fixture(scope="session")
def make_user(stack: Stack, http: httpx.Client) -> MakeUser:
    """A maker of users whom nobody has seen before."""
    return lambda: ApiClient.of(http, url=stack.api_url, secret=stack.jwt_secret)


@pytest.fixture
def user(make_user: MakeUser) -> ApiClient:
    """A new user."""
    return make_user()


@pytest.fixture(scope="session")
def standin(stack: Stack, http: httpx.Client) -> Standin:
    """The controls of the stand-in model."""
    return Standin(http, stack.model_url)


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """The stack's database, as the system itself opens it."""
    opened = build_database(load_settings(), application_name="codelab-tests")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def store(stack: Stack) -> Iterator[redis.Redis]:
    """The stack's Redis."""
    with redis.Redis.from_url(stack.redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def publisher(store: redis.Redis) -> EventPublisher:
    """Publishes into a session's stream as a node does, with the settings' default sizes."""
    return EventPublisher(store, buffer_size=1_000, buffer_ttl=300)


@pytest.fixture(scope="session")
def tuned_url(stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one more web process, with small limits: what takes long in the stack's own is quick here."""
    log: Path = tmp_path_factory.mktemp("tuned") / "api.log"
    options = {
        "HEARTBEAT_INTERVAL": 0.5,
        "STREAM_QUEUE_SIZE": 40,
        "EVENT_BUFFER_SIZE": 5,
        "EVENT_BUFFER_TTL": 120,
        "WAIT_LIMIT": 1,
        "RATE_LIMIT": "5/minute",
        "RATE_LIMIT_MESSAGE_COST": 2,
        "CORS_ORIGINS": '["https://app.example"]',
    }
    with own_api(http, log, **options) as url:
        yield url


@pytest.fixture(scope="session")
def wire(stack: Stack) -> Iterator[Proxy]:
    """A way to the stack's Redis that a test can cut, and mends again."""
    with proxy(stack.redis_url) as running:
        yield running


@pytest.fixture(scope="session")
def wired_url(wire: Proxy, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one more web process, which reaches Redis by that way alone."""
    log = tmp_path_factory.mktemp("wired") / "api.log"
    with own_api(http, log, REDIS_URL=wire.url, RATE_LIMIT="8/minute") as url:
        yield url
