"""An agent's queue takes exactly as many tasks as it may, however many come at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.runs.conftest import QUEUE_LIMIT
from tests.integration.runs.own_system import OwnSystem
from tests.integration.runs.steps import Json, calls, cancelled, post
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack


def blocked(user: ApiClient, standin: Standin) -> Json:
    """An agent whose one slot is taken; returns what took it."""
    agent = user.make_agent(concurrency_limit=1)
    blocker = user.send(user.make_session()["id"], "[silent=120]")
    calls(standin, agent, 1)
    return blocker


@pytest.mark.parametrize("sessions", [1, 24])
def test_of_many_messages_at_once_exactly_the_limit_is_accepted(
    small: OwnSystem, standin: Standin, sessions: int
) -> None:
    user = small.user()
    blocker = blocked(user, standin)
    places = [user.make_session()["id"] for _ in range(sessions)]
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda number: post(user, places[number % sessions], "[say=yes]"), range(24)))
    accepted = [answer.json() for answer in answers if answer.status_code == 202]
    assert sorted(one["queue_position"] for one in accepted) == list(range(QUEUE_LIMIT))
    for answer in answers:
        if answer.status_code != 202:
            body = error(answer, 429, "agent_queue_full", more={"queue_position"})
            assert body["queue_position"] == QUEUE_LIMIT
            assert int(answer.headers["Retry-After"]) >= 1
    assert sum(len(user.messages(session)) for session in places) == QUEUE_LIMIT
    cancelled(user, accepted[0]["run_id"])
    assert post(user, places[0], "[say=yes]").json()["queue_position"] == QUEUE_LIMIT - 1
    error(post(user, places[0], "one more"), 429, "agent_queue_full", more={"queue_position"})
    cancelled(user, blocker["run_id"])
    for one in accepted[1:]:
        user.wait_for_run(one)


def test_the_limit_is_each_agents_own(small: OwnSystem, standin: Standin) -> None:
    user = small.user()
    blocker = blocked(user, standin)
    user.make_agent("other")
    waiting = [user.send(user.make_session()["id"], "[say=yes]") for _ in range(QUEUE_LIMIT)]
    session = user.make_session()["id"]
    error(post(user, session, "no"), 429, "agent_queue_full", more={"queue_position"})
    user.answered(session, "[say=yes]", agent="other")
    cancelled(user, blocker["run_id"])
    for one in waiting:
        user.wait_for_run(one)
