"""Who launches plans in the stack's own workspaces."""

from collections.abc import Iterator

import pytest

from models.tenancy import Database
from settings import load_settings
from tests.integration.plans.launched import Launcher, launcher_of


@pytest.fixture(scope="session")
def plans(database: Database) -> Iterator[Launcher]:
    with launcher_of(load_settings(), database) as launcher:
        yield launcher
