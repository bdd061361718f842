"""A system in which a run may use little, for what takes long or much in the stack's own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.integration.runs.own_system import OwnSystem, own_system
from tests.support.stack import Stack

OUTPUT_LIMIT = 16_384
MAX_TURNS = 4
TOKEN_BUDGET = 1_500
CLIENT_TIMEOUT = 3


@pytest.fixture(scope="session")
def frugal(stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    """Its runs have few turns and tokens, its tools answer little, and its clients have three seconds."""
    directory = tmp_path_factory.mktemp("frugal")
    options = {
        "TOOL_OUTPUT_LIMIT": OUTPUT_LIMIT,
        "MAX_TURNS": MAX_TURNS,
        "RUN_TOKEN_BUDGET": TOKEN_BUDGET,
        "CLIENT_TOOL_TIMEOUT": CLIENT_TIMEOUT,
        "NODE_SHUTDOWN_GRACE": 1,
        "DATA_DIR": directory / "data",
    }
    with own_system(http, stack, directory, redis_from=12, **options) as system:
        yield system


StartNode = Callable[[], object]


@pytest.fixture(scope="session")
def start_node(frugal: OwnSystem) -> Iterator[StartNode]:
    """Starts one more node of that system, which stays."""
    with ExitStack() as others:
        yield lambda: others.enter_context(frugal.node())
