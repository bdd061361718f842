"""Clients that do not give up: they come back while the system says, or shows, that something is away."""

import time
from collections.abc import Sequence

import httpx

from tests.support.api import FINAL, ApiClient, Json
from tests.support.waiting import eventually

RECOVERY = 60.0
"""Seconds until a test gives up on all being well again."""


def post_until_accepted(user: ApiClient, session: str, content: str, agent: str = "helper") -> Json:
    """Send a message; the only errors allowed are those that say to come back."""
    deadline = time.monotonic() + RECOVERY
    while True:
        answer = user.post(f"chat/{session}/message/", {"content": content, "target_agent": agent})
        if answer.status_code == 202:
            accepted: Json = answer.json()
            return accepted
        says_to_come_back(answer)
        assert time.monotonic() < deadline, "no message was accepted any more"
        time.sleep(0.2)


def says_to_come_back(answer: httpx.Response) -> None:
    """Hold an answer to the one refusal that a fault excuses."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["error_code"] == "overloaded"
    assert "Retry-After" in answer.headers


def settle(user: ApiClient, accepted: Sequence[Json]) -> list[Json]:
    """Wait until every run has ended; the API may be away for a while."""

    def all_ended() -> list[Json] | None:
        try:
            answers = [user.get(f"runs/{one['run_id']}/") for one in accepted]
        except httpx.TransportError:
            return None
        if any(answer.status_code != 200 for answer in answers):
            assert all(answer.status_code in {200, 503} for answer in answers), [a.text for a in answers]
            return None
        runs = [answer.json() for answer in answers]
        return runs if all(run["status"] in FINAL for run in runs) else None

    return eventually(all_ended, "the end of every accepted run", within=RECOVERY, every=0.2)
