"""An agent whose memory a test has for itself."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.api import ApiClient
from tests.support.contexts import Context
from tests.support.processes import own_api
from tests.support.stack import Stack


@pytest.fixture
def mine(user: ApiClient) -> Context:
    """The memory of a new user's only agent."""
    return Context.of_new_agent(user)


@pytest.fixture(scope="session")
def small_imports_url(stack: Stack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one more web process, which takes smaller imports."""
    with own_api(http, tmp_path_factory.mktemp("imports") / "api.log", MAX_IMPORT_BYTES=2_000_000) as url:
        yield url
