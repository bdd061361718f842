"""Processes that ask hosts for agents' memory: over the stack's own node, and over a system that tests may hurt."""

from collections.abc import Iterator

import httpx
import pytest

from models.tenancy import Database
from settings import load_settings
from tests.integration.memory.asker import Asker, asker_of
from tests.integration.runs.own_system import OwnSystem, own_system
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def asker(database: Database) -> Iterator[Asker]:
    """It asks the stack's own node."""
    with asker_of(load_settings(), database) as asker:
        yield asker


@pytest.fixture(scope="package")
def fragile(stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    """A system with nodes of its own, whose hosts are given up after three seconds."""
    directory = tmp_path_factory.mktemp("memory")
    options = {
        "NODE_LEASE_TTL": 3,
        "NODE_LEASE_RENEWAL": 0.5,
        "NODE_LEASE_FENCE": 2,
        "NODE_SHUTDOWN_GRACE": 2,
        "WORKSPACE_IDLE_TIMEOUT": 600,
        "DATA_DIR": directory / "data",
    }
    with own_system(http, stack, directory, **options) as system:
        yield system


@pytest.fixture(scope="module")
def other_asker(fragile: OwnSystem) -> Iterator[Asker]:
    """It asks the nodes of the fragile system."""
    with asker_of(fragile.settings, fragile.database) as asker:
        yield asker
