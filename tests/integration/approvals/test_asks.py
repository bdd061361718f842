"""A model that will not take no for an answer: after three times its owner is not asked any more."""

import pytest

from tests.integration.approvals.steps import (
    append,
    approvals_of,
    ask,
    calls_of,
    confirmed,
    content_of,
    error_codes,
    make_agent,
    next_question,
    told,
    write,
)
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack

SAME = append("log.txt", "x")


def test_the_fourth_time_the_same_is_refused_without_a_question(user: ApiClient, standin: Standin) -> None:
    make_agent(user)
    content = f"{SAME} [then] {SAME} [then] {SAME} [then] {SAME} [then] [say=I give up.]"
    one = ask(user, content)
    question = one.approvals[0]
    for number in (1, 2, 3):
        assert question["payload"]["ask"] == number
        confirmed(user, question["id"], "reject")
        if number < 3:
            question = next_question(user, one.run_id, after=question["id"])
    one.completed()
    assert error_codes(told(standin, one.content)) == ["rejected"] * 3 + ["asked_too_often"]
    assert len(approvals_of(user, run_id=one.run_id)) == 3
    assert [call["status"] for call in calls_of(user, one.run_id)] == ["rejected"] * 4
    assert content_of(user, "log.txt") is None
    # Another message begins to count anew.
    again = ask(user, SAME, session=one.session)
    assert again.approvals[0]["payload"]["ask"] == 1
    confirmed(user, again.id)
    again.completed()
    assert content_of(user, "log.txt") == "x"


def test_what_is_not_the_very_same_is_counted_by_itself(user: ApiClient, standin: Standin) -> None:
    make_agent(user)
    other = write("log.txt", "x")
    content = f"{SAME} {SAME} {SAME} {SAME} {other} [say=done]"
    one = ask(user, content, count=4)
    asks = [(a["payload"]["arguments"]["mode"], a["payload"]["ask"]) for a in one.approvals]
    assert asks == [("append", 1), ("append", 2), ("append", 3), ("overwrite", 1)]
    for approval in one.ids:
        confirmed(user, approval, "reject")
    one.completed()
    assert error_codes(told(standin, one.content)) == ["rejected"] * 3 + ["asked_too_often", "rejected"]
