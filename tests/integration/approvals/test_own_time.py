"""The running time of a task is its own: that of its owner does not count, and that before a question does."""

from datetime import datetime, timedelta

import pytest

from models import utc_now
from tests.integration.approvals.steps import append, ask, calls_of, confirmed, make_agent
from tests.support.api import ApiClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

LIMIT = 3


def test_the_time_in_which_its_owner_thinks_does_not_count(user: ApiClient) -> None:
    make_agent(user, limits={"timeout_seconds": LIMIT})
    one = ask(user, append("log.txt", "x"))
    asked_at = datetime.fromisoformat(one.approvals[0]["created_at"])
    eventually(lambda: utc_now() > asked_at + timedelta(seconds=LIMIT), "more time than the task has to pass")
    confirmed(user, one.id)
    one.completed()


def test_the_time_before_the_question_counts_after_the_answer(user: ApiClient) -> None:
    make_agent(user, limits={"timeout_seconds": LIMIT})
    one = ask(user, f"[delay=2] {append('log.txt', 'x')} [then] [delay=2] [say=too late]")
    confirmed(user, one.id)
    run = user.wait_for_run(one.run_id, status="failed")
    assert run["error"]["error_code"] == "deadline_exceeded"
    assert [call["status"] for call in calls_of(user, one.run_id)] == ["succeeded"]
