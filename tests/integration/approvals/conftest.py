"""A system whose owners have little time, for what takes long in the stack's own."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.integration.runs.own_system import OwnSystem, own_system
from tests.support.stack import Stack

TIMEOUT = 4
"""Seconds to answer for a MEDIUM risk; a HIGH one has the default."""
CAP = 2
IDLE = 2


@pytest.fixture(scope="session")
def hurried(stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    """It sweeps each second, runs two tasks of a user at once, and closes what is idle for two seconds."""
    directory = tmp_path_factory.mktemp("hurried")
    options = {
        "APPROVAL_TIMEOUT_MEDIUM": TIMEOUT,
        "USER_TASK_CAP": CAP,
        "WORKSPACE_IDLE_TIMEOUT": IDLE,
        "AGENT_IDLE_TIMEOUT": 1,
        "NODE_SHUTDOWN_GRACE": 1,
        "NODE_LEASE_TTL": 6,
        "NODE_LEASE_RENEWAL": 1.5,
        "NODE_LEASE_FENCE": 4.5,
        "DATA_DIR": directory / "data",
    }
    with own_system(http, stack, directory, redis_from=4, **options) as system:
        yield system


EndNode = Callable[[signal.Signals], None]


@pytest.fixture(scope="session")
def end_node(hurried: OwnSystem) -> Iterator[EndNode]:
    """Returns what ends that system's node by a signal and then starts another one."""
    with ExitStack() as others:

        def end(number: signal.Signals) -> None:
            (*_, node) = hurried.nodes.values()
            node.send_signal(number)
            node.wait(30)
            others.enter_context(hurried.node())

        yield end
