"""A system with small limits, for what takes long or many in the stack's own."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.runs.own_system import OwnSystem, own_system
from tests.support.stack import Stack

CAP = 3
QUEUE_LIMIT = 6
GRACE = 2


@pytest.fixture(scope="session")
def small(stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    """It runs three tasks of a user at once, queues six of an agent, and closes what is idle for two seconds."""
    options = {
        "USER_TASK_CAP": CAP,
        "AGENT_QUEUE_LIMIT": QUEUE_LIMIT,
        "WORKSPACE_IDLE_TIMEOUT": 2,
        "AGENT_IDLE_TIMEOUT": 1,
        "NODE_SHUTDOWN_GRACE": GRACE,
    }
    with own_system(http, stack, tmp_path_factory.mktemp("small"), **options) as system:
        yield system
