"""The two addresses of a project."""

import pytest

from tests.support.api import ApiClient


@pytest.fixture(params=["/my", "/my/projects/{id}"])
def client(request: pytest.FixtureRequest, user: ApiClient) -> ApiClient:
    """A new user's client, at the short address of its default project and at the long one of another."""
    return user if request.param == "/my" else user.inside(user.make_project()["id"])
