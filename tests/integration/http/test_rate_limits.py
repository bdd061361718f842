"""How often a user may ask: counted for each user, told in headers, and no reason for a 500 when Redis is away.

The process under test allows 5 requests a minute. A window begins with a user's first request.
"""

import pytest

from tests.conftest import MakeUser
from tests.support.answers import error
from tests.support.api import ApiClient

pytestmark = pytest.mark.stack


@pytest.fixture
def limited(user: ApiClient, tuned_url: str) -> ApiClient:
    """The user at the process with small limits; what it prepares elsewhere is not counted there."""
    return user.at(tuned_url)


def test_every_answer_says_how_much_is_left(limited: ApiClient) -> None:
    for left in (4, 3, 2):
        answer = limited.get("agents/")
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Limit"] == "5"
        assert answer.headers["RateLimit-Remaining"] == str(left)
        assert 50 <= int(answer.headers["RateLimit-Reset"]) <= 60
        assert "Retry-After" not in answer.headers


def test_who_asks_too_often_is_told_when_to_come_back(limited: ApiClient) -> None:
    for _ in range(5):
        assert limited.get("agents/").status_code == 200
    for _ in range(2):
        answer = limited.get("agents/")
        error(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["RateLimit-Limit"] == "5"
        assert answer.headers["RateLimit-Remaining"] == "0"
        assert answer.headers["Retry-After"] == answer.headers["RateLimit-Reset"]


def test_all_addresses_are_counted_together_and_mistakes_as_well(limited: ApiClient) -> None:
    statuses = [
        limited.get("agents/").status_code,
        limited.get("/my/projects/").status_code,
        limited.post("agents/", {}).status_code,
        limited.get("runs/01a1fe10-8987-7355-b138-fc30b82271f8/").status_code,
        limited.delete("chat/sessions/01a1fe10-8987-7355-b138-fc30b82271f8/").status_code,
        limited.get("chat/sessions/").status_code,
    ]
    assert statuses == [200, 200, 422, 404, 404, 429]


def test_one_users_requests_are_not_anothers(limited: ApiClient, make_user: MakeUser, tuned_url: str) -> None:
    for _ in range(6):
        last = limited.get("agents/")
    error(last, 429, "rate_limited")
    other = make_user().at(tuned_url)
    assert other.get("agents/").status_code == 200
    # Two tokens of one user are one user.
    error(limited.with_token(jti="another").get("agents/"), 429, "rate_limited")


def test_a_message_counts_as_two_and_one_over_the_limit_leaves_nothing(user: ApiClient, limited: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    body = {"content": "Hello", "target_agent": "helper"}
    for left in (3, 1):
        assert limited.post(f"chat/{session}/message/", body).headers["RateLimit-Remaining"] == str(left)
    answer = limited.post(f"chat/{session}/message/", body)
    error(answer, 429, "rate_limited")
    assert answer.headers["RateLimit-Limit"] == "5"
    assert int(answer.headers["Retry-After"]) >= 1
    assert len([each for each in user.messages(session) if each["role"] == "user"]) == 2


def test_a_retry_counts_as_a_message(limited: ApiClient) -> None:
    answer = limited.post("runs/01a1fe10-8987-7355-b138-fc30b82271f8/retry/", {})
    assert (answer.status_code, answer.headers["RateLimit-Remaining"]) == (404, "3")


def test_streams_are_not_counted_as_requests(user: ApiClient, limited: ApiClient) -> None:
    session = user.make_session()["id"]
    for _ in range(8):
        with limited.events(session) as stream:
            assert stream.next().type == "heartbeat"
    assert limited.get("agents/").headers["RateLimit-Remaining"] == "4"


def test_what_is_no_users_is_not_counted(limited: ApiClient) -> None:
    for path in ("/health", "/ready", "/metrics", "/my/docs", "/my/openapi.json"):
        for _ in range(7):
            answer = limited.http.get(limited.url + path)
            assert answer.status_code == 200
            assert "RateLimit-Limit" not in answer.headers
    for _ in range(7):
        error(limited.http.get(f"{limited.url}/my/agents/"), 401, "unauthorized")
    assert limited.get("agents/").headers["RateLimit-Remaining"] == "4"
