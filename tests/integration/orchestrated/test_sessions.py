"""Messages with and without a target in one session: one after the other, each seeing what was said before it."""

from itertools import pairwise

import pytest

from tests.integration.orchestrated.steps import Json, Request, post, replies, send
from tests.integration.runs.steps import calls, cancelled, runs_of
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack


@pytest.fixture
def agent(user: ApiClient) -> Json:
    """The project's only agent."""
    return user.make_agent()


@pytest.fixture
def session(user: ApiClient, agent: Json) -> str:
    """A session in that project."""
    return str(user.make_session()["id"])


def said(body: Json) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in body["messages"][1:]]


def test_both_ways_are_answered_in_order_and_see_each_others_answers(
    user: ApiClient, session: str, standin: Standin
) -> None:
    first, second = Request(standin).plan({"a": [], "b": []}), Request(standin).plan({"a": [], "b": []})
    for request in (first, second):
        request.work("a", say="one", delay=0.5).work("b", say="two").answer(say=f"answer {request.word}")
    accepted = [
        send(user, session, first),
        user.send(session, "[say=direct] between them"),
        send(user, session, second),
        user.send(session, "[say=last]"),
    ]
    assert [each["status"] for each in accepted] == ["queued", "held", "held", "held"]
    for each in accepted:
        user.wait_for_run(each)
    answers = [answer for _, answer in replies(user, session)]
    assert answers == [f"answer {first.word}", "direct", f"answer {second.word}", "last"]
    before = [
        ("user", first.text),
        ("assistant", f"answer {first.word}"),
        ("user", "[say=direct] between them"),
        ("assistant", "direct"),
    ]
    (call,) = second.closing_calls()
    assert said(call) == [*before, ("user", second.text)]
    (last,) = [body for body in standin.requests(limit=200) if body["messages"][-1]["content"] == "[say=last]"]
    assert said(last)[:4] == before
    ended = [(run["started_at"], run["finished_at"]) for run in runs_of(user, session)]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(ended))


def test_a_busy_session_refuses_where_it_is_asked_to(
    user: ApiClient, agent: Json, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": []}).work("a", silent="60")
    running = send(user, session, request)
    calls(standin, agent, 1)
    error(post(user, session, "now or never", on_busy="reject"), 409, "session_busy")
    assert cancelled(user, running["run_id"])["id"] == running["run_id"]
    user.wait_for_run(running, status="cancelled")


def test_a_message_takes_the_place_of_a_plan_at_work(
    user: ApiClient, agent: Json, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": [], "b": ["a"]}).work("a", silent="60")
    running = send(user, session, request)
    calls(standin, agent, 1)
    newer = Request(standin).plan({"a": []}).work("a", say="newer")
    accepted = send(user, session, newer, on_busy="interrupt")
    user.wait_for_run(accepted)
    assert user.run(running["run_id"])["status"] == "cancelled"
    assert replies(user, session) == [("@orchestrator", "newer")]


def test_a_message_that_is_sent_again_under_its_key_is_planned_once(
    user: ApiClient, session: str, standin: Standin
) -> None:
    request = Request(standin).plan({"a": []}).work("a", say="once")
    key = {"Idempotency-Key": request.word}
    first = send(user, session, request, headers=key)
    again = post(user, session, request.text, headers=key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first
    user.wait_for_run(first)
    assert len(runs_of(user, session)) == 1
    error(post(user, session, "another", headers=key), 409, "idempotency_conflict")
