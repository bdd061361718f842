"""A node brings its agents back by itself when their model is."""

import pytest

from settings import load_settings
from tests.support.api import ApiClient
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.stack


def test_an_agent_in_error_is_ready_again_without_a_message(user: ApiClient) -> None:
    agent = user.make_agent()
    session = user.make_session()["id"]
    user.wait_for_run(user.send(session, "[fail=401]"), status="failed")

    def shown() -> str:
        return str(user.get(f"agents/{agent['id']}/").json()["status"])

    eventually(lambda: shown() == "error", "the agent's error")
    within = load_settings().agent_check_interval + PATIENCE
    eventually(lambda: shown() == "ready", "the agent's recovery", within=within, every=0.5)
    assert user.get(f"agents/{agent['id']}/").json()["status_reason"] is None
