"""What a run may cost ends the calls of the orchestrator as it ends those of agents."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.orchestrated.steps import Request, replies, send
from tests.integration.runs.own_system import OwnSystem, own_system
from tests.support.stack import Stack
from tests.support.standin import Standin

pytestmark = pytest.mark.stack

LONG = "word " * 2_000


@pytest.fixture
def thrifty(stack: Stack, http: httpx.Client, tmp_path: Path) -> Iterator[OwnSystem]:
    """A system in which one long answer costs all that a run may."""
    with own_system(http, stack, tmp_path, redis_from=12, RUN_COST_BUDGET="0.001") as system:
        yield system


def test_a_run_that_used_up_its_money_has_its_results_as_they_are(thrifty: OwnSystem, standin: Standin) -> None:
    user = thrifty.user()
    user.make_agent(concurrency_limit=2, memory={"enabled": False})
    session = user.make_session()["id"]
    # Both begin before either has cost anything.
    request = Request(standin).plan({"a": [], "b": []}).answer(say="paid for")
    request.work("a", delay="1.5", say=f"one {LONG}").work("b", delay="1.5", say=f"two {LONG}")
    run = user.wait_for_run(send(user, session, request))
    assert float(run["usage"]["cost_usd"]) >= 0.001
    assert [task["status"] for task in run["tasks"]] == ["completed"] * 4
    ((_, answer),) = replies(user, session)
    assert "one word" in answer
    assert "two word" in answer
    assert request.closing_calls() == []
