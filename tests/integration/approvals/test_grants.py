"""A yes that counts for a class of calls: where it counts, until when, and for what it does not."""

from typing import Any

import pytest

from tests.integration.approvals.steps import (
    TRUSTED,
    Asked,
    Json,
    append,
    approvals_of,
    ask,
    calls_of,
    confirm,
    confirmed,
    content_of,
    make_agent,
    next_question,
    write,
)
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

DOCS = {"path": "docs/*.md", "mode": "append"}


def granted(one: Asked, scope: str, patterns: Json | None = None, **more: Any) -> Json:
    """Approve, remember it, wait for the run's end, and return the grant."""
    confirmed(one.user, one.id, remember={"scope": scope, "patterns": patterns, **more})
    one.completed()
    return grants_of(one.user)[-1]


def grants_of(user: ApiClient) -> list[Json]:
    items: list[Json] = user.get("approvals/grants/").json()["items"]
    return items


def is_spared(user: ApiClient, content: str, session: str | None = None) -> Json:
    """Send a message whose call nobody is asked for, and return the call."""
    accepted = user.answered(session or user.make_session()["id"], content)
    assert approvals_of(user, run_id=accepted["run_id"]) == []
    (call,) = calls_of(user, accepted["run_id"])
    assert call["status"] == "succeeded"
    return call


def is_asked(user: ApiClient, content: str, session: str | None = None) -> None:
    """Send a message whose call its owner is asked for, and refuse it."""
    one = ask(user, content, session=session)
    assert calls_of(user, one.run_id)[0]["grant_id"] is None
    confirmed(user, one.id, "reject")
    one.completed()


def test_a_grant_for_a_run_counts_in_that_run_only(user: ApiClient) -> None:
    make_agent(user)
    again = append("log.txt", "x")
    one = ask(user, f"{again} [then] {again} [then] {append('other.txt', 'x')} [then] {again} [then] [say=done]")
    confirmed(user, one.id, remember={"scope": "run"})
    other = next_question(user, one.run_id, after=one.id)
    assert other["payload"]["arguments"]["path"] == "other.txt"
    confirmed(user, other["id"], "reject")
    one.completed()
    (grant,) = grants_of(user)
    assert (grant["run_id"], grant["session_id"]) == (one.run_id, one.session)
    assert (grant["tool"], grant["risk"], grant["revoked_at"]) == ("write_file", "medium", None)
    assert [call["grant_id"] for call in calls_of(user, one.run_id)] == [None, grant["id"], None, grant["id"]]
    assert content_of(user, "log.txt") == "xxx"
    is_asked(user, again, one.session)


def test_a_grant_for_a_session_counts_in_its_next_runs_and_nowhere_else(user: ApiClient) -> None:
    make_agent(user)
    again = append("log.txt", "x")
    one = ask(user, again)
    grant = granted(one, "session")
    assert (grant["run_id"], grant["session_id"]) == (None, one.session)
    assert is_spared(user, again, one.session)["grant_id"] == grant["id"]
    is_asked(user, again)


def test_a_grant_for_a_project_counts_in_all_its_sessions_and_in_no_other_project(user: ApiClient) -> None:
    elsewhere = user.inside(user.make_project()["id"])
    make_agent(user)
    make_agent(elsewhere)
    again = append("log.txt", "x")
    one = ask(user, again)
    grant = granted(one, "project")
    assert (grant["run_id"], grant["session_id"]) == (None, None)
    assert is_spared(user, again)["grant_id"] == grant["id"]
    assert is_spared(user, again, one.session)["grant_id"] == grant["id"]
    is_asked(elsewhere, again)
    assert grants_of(elsewhere) == []


def test_without_patterns_it_counts_for_the_same_file_whatever_is_written(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    grant = granted(one, "session")
    assert grant["patterns"] == {"path": "log.txt", "mode": "append"}
    is_spared(user, append("./log.txt", "y"), one.session)
    is_asked(user, append("log.txt.md", "x"), one.session)
    is_asked(user, write("log.txt", "x"), one.session)
    assert content_of(user, "log.txt") == "xy"


def test_with_patterns_it_counts_for_what_they_match(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("docs/a.md", "x"))
    grant = granted(one, "session", DOCS)
    assert grant["patterns"] == DOCS
    is_spared(user, append("docs/b.md", "x"), one.session)
    is_asked(user, append("docs/deep/b.md", "x"), one.session)
    is_asked(user, append("docs/../a.md", "x"), one.session)
    is_asked(user, write("docs/b.md", "x"), one.session)


def test_it_does_not_count_for_what_risks_more(user: ApiClient) -> None:
    make_agent(user)
    anything = {"path": "**", "mode": "append"}
    one = ask(user, append("log.txt", "x"))
    assert granted(one, "session", anything)["risk"] == "medium"
    is_asked(user, append(TRUSTED, "x"), one.session)
    high = ask(user, append(TRUSTED, "x"))
    assert granted(high, "session", anything)["risk"] == "high"
    is_spared(user, append(f"src/{TRUSTED}", "x"), high.session)
    is_spared(user, append("log.txt", "x"), high.session)


def test_it_ends_with_its_time(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    granted(one, "session", seconds=2)
    eventually(lambda: _asks_again(one), "the end of the grant")


def _asks_again(one: Asked) -> bool:
    accepted = one.user.send(one.session, append("log.txt", "x"))
    with one.user.events(accepted["events_url"]) as stream:
        while (event := stream.next()).type not in {"task_waiting", "run_completed"}:
            pass
    return event.type == "task_waiting"


def test_it_ends_when_it_is_revoked(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    grant = granted(one, "session")
    is_spared(user, append("log.txt", "x"), one.session)
    assert user.delete(f"approvals/grants/{grant['id']}/").status_code == 204
    is_asked(user, append("log.txt", "x"), one.session)
    (revoked,) = grants_of(user)
    assert revoked["revoked_at"] is not None
    assert user.delete(f"approvals/grants/{grant['id']}/").status_code == 204
    assert grants_of(user) == [revoked]


@pytest.mark.parametrize(("scope", "answered"), [("run", 0), ("session", 0), ("project", 1)])
def test_what_is_open_already_and_covered_is_answered_with_it(user: ApiClient, scope: str, answered: int) -> None:
    make_agent(user)
    first, covered, other = (ask(user, append(path, "x")) for path in ("docs/a.md", "docs/b.md", "src/c.md"))
    confirmed(user, first.id, remember={"scope": scope, "patterns": DOCS})
    first.completed()
    if answered:
        covered.completed()
        approval = covered.now()
        assert (approval["status"], approval["decision"]) == ("approved", "approve")
        assert "remembered" in approval["reason"]
        assert content_of(user, "docs/b.md") == "x"
    else:
        assert covered.now() == covered.approvals[0]
    assert other.now() == other.approvals[0]


def test_what_is_open_in_the_same_run_and_covered_is_answered_with_it(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, f"{append('docs/a.md', 'x')} {append('src/b.md', 'x')} {append('docs/c.md', 'x')}", count=3)
    confirmed(user, one.ids[0], remember={"scope": "run", "patterns": DOCS})
    assert [one.now(each)["status"] for each in one.ids] == ["approved", "pending", "approved"]
    confirmed(user, one.ids[1], "reject")
    one.completed()
    assert [call["status"] for call in calls_of(user, one.run_id)] == ["succeeded", "rejected", "succeeded"]


@pytest.mark.parametrize(
    "patterns",
    [
        {"path": "src/**", "mode": "append"},
        {"path": "docs/*.md"},
        {"path": "docs/*.md", "mode": "append", "owner": "me"},
        {"path": ["docs", "**", "a.md"], "mode": "append"},
        {"path": {"like": "docs/a.md"}, "mode": "append"},
        {"path": "../docs/*.md", "mode": "append"},
        {"path": "docs/*.md" + "x" * 20_000, "mode": "append"},
        {},
    ],
    ids=["no match", "a name missing", "a name too many", "a list", "an object", "outside", "too long", "nothing"],
)
def test_patterns_that_make_no_sense_are_refused_and_the_question_stays(open_question: Asked, patterns: Json) -> None:
    one = open_question
    answer = confirm(one.user, one.id, remember={"scope": "project", "patterns": patterns})
    error(answer, 422, "validation_error")
    assert one.now() == one.approvals[0]
    assert grants_of(one.user) == []


@pytest.fixture(scope="module")
def open_question(make_user: Any) -> Asked:
    user = make_user()
    make_agent(user)
    return ask(user, append("docs/a.md", "x"))


def test_a_no_is_remembered_by_nobody(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, append("log.txt", "x"))
    confirmed(user, one.id, "reject", remember={"scope": "project"})
    one.completed()
    assert grants_of(user) == []
    is_asked(user, append("log.txt", "x"), one.session)
