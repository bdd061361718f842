"""What a run held back is begun at once when it ends, also by an agent that nobody needed until then."""

import time

import pytest

from tests.integration.runs.steps import calls, post
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack

AT_ONCE = 1.5
"""Seconds; a comparison of the node with the rows comes every three."""


def test_the_next_message_of_a_session_is_begun_at_once_by_an_agent_that_did_nothing_yet(
    user: ApiClient, standin: Standin
) -> None:
    helper = user.make_agent("helper")
    others = [user.make_agent(f"other{number}")["name"] for number in range(3)]
    session = user.make_session()["id"]
    first = user.send(session, "[delay=1.0] [say=one]")
    calls(standin, helper, 1)
    held = [post(user, session, "[say=next]", other).json() for other in others]
    assert [one["status"] for one in held] == ["held"] * len(held)
    user.wait_for_run(first)
    began = time.monotonic()
    user.wait_for_run(held[-1])
    assert time.monotonic() - began < AT_ONCE * len(held)
