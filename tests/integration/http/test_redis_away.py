"""Without Redis: nothing is a 500, messages are accepted, and when it is back they are answered.

One more web process reaches its Redis through a proxy; the stack's own programs do not notice.
"""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import MakeUser
from tests.support.api import ApiClient
from tests.support.proxy import Proxy
from tests.support.streams import StreamRefused
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


@pytest.fixture
def away(wire: Proxy) -> Iterator[Proxy]:
    """Redis is away for the length of a test."""
    wire.cut()
    yield wire
    wire.mend()


@pytest.fixture(scope="module")
def furnished(make_user: MakeUser) -> tuple[ApiClient, str]:
    """A user with an agent and a session."""
    user = make_user()
    user.make_agent()
    return user, user.make_session()["id"]


def test_everything_but_streams_works_without_redis(user: ApiClient, wired_url: str, away: Proxy) -> None:
    here = user.at(wired_url)
    agent = here.make_agent()
    assert here.put(f"agents/{agent['id']}/", {"name": "helper", "model": "other"}).json()["version"] == 2
    session = here.make_session()["id"]
    assert here.get(f"chat/{session}/messages/").json()["total"] == 0
    assert here.delete(f"chat/sessions/{session}/").status_code == 204
    assert here.delete(f"agents/{agent['id']}/").status_code == 204


def test_a_message_is_accepted_at_once_and_answered_when_it_is_back(
    furnished: tuple[ApiClient, str], wired_url: str, away: Proxy
) -> None:
    user, session = furnished
    started = time.monotonic()
    accepted = user.at(wired_url).send(session, "[say=after all] Hello")
    # Events, broker and notices: each gives up within its own timeout of 0.4 s and less when it is refused.
    assert time.monotonic() - started < 3
    assert accepted["events_url"].endswith("last_event_id=0")
    away.mend()
    # The sweeper sends what nobody could publish.
    user.wait_for_run(accepted)
    assert user.messages(session)[-1]["content"] == "after all"


def test_a_stream_is_refused_as_out_of_reach(furnished: tuple[ApiClient, str], wired_url: str, away: Proxy) -> None:
    user, session = furnished
    with pytest.raises(StreamRefused) as refusal, user.at(wired_url).events(session):
        pass
    assert (refusal.value.status, refusal.value.body["error_code"]) == (503, "overloaded")
    assert int(refusal.value.headers["retry-after"]) >= 1


def test_requests_are_still_limited_by_each_process_for_itself(user: ApiClient, wired_url: str, away: Proxy) -> None:
    here = user.at(wired_url)
    statuses = [here.get("agents/").status_code for _ in range(9)]
    assert statuses == [200] * 8 + [429]


def test_readiness_says_what_is_away_and_health_does_not(http: httpx.Client, wired_url: str, away: Proxy) -> None:
    answer = http.get(f"{wired_url}/ready")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not_ready"
    assert answer.json()["checks"]["database"] == "ok"
    assert answer.json()["checks"]["redis"] != "ok"
    assert http.get(f"{wired_url}/health").json() == {"status": "ok"}
    away.mend()
    eventually(lambda: http.get(f"{wired_url}/ready").status_code == 200, "it is ready again")
