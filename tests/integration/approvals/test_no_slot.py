"""A task that waits for its owner holds nothing that others could use."""

import pytest

from tests.integration.approvals.conftest import CAP
from tests.integration.approvals.steps import TRUSTED, ask, calls_of, confirmed, make_agent, write
from tests.integration.runs.own_system import OwnSystem
from tests.integration.runs.steps import cancel
from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack


def test_an_agent_with_one_slot_answers_others_meanwhile(user: ApiClient, standin: Standin) -> None:
    agent = make_agent(user, concurrency_limit=1)
    waiting = [ask(user, write(f"{number}.md")) for number in range(2)]
    assert user.get(f"agents/{agent['id']}/").json()["status"] == "ready"
    for _ in range(2):
        user.answered(user.make_session()["id"], "[say=not held back]")
    for one in waiting:
        assert user.run(one.run_id)["status"] == "waiting"
        confirmed(user, one.id)
    for one in waiting:
        one.completed()
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 6}


def test_a_run_that_waits_says_for_which_answers(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, f"{write('a.md')} {write('b.md')}", count=2)
    run = user.run(one.run_id)
    (task,) = run["tasks"]
    assert (run["status"], task["status"], run["finished_at"]) == ("waiting", "waiting", None)
    why = run["why"]
    assert (why["code"], why["agent_name"], why["tool_call_ids"]) == ("approval", "helper", [])
    assert why["approval_ids"] == one.ids
    assert "2" in why["detail"]
    confirmed(user, one.ids[0])
    again = user.run(one.run_id)["why"]
    assert one.ids[0] not in again["approval_ids"]
    cancel(user, one.run_id)
    assert user.wait_for_run(one.run_id, status="cancelled")["why"] is None


def test_the_cap_of_a_user_does_not_count_what_waits(hurried: OwnSystem) -> None:
    user = hurried.user()
    make_agent(user, concurrency_limit=CAP + 2)
    waiting = [ask(user, f"{write(TRUSTED)} {write(f'{number}.mk')}", count=2) for number in range(CAP + 1)]
    accepted = user.send(user.make_session()["id"], "[say=not held back]")
    assert accepted["status"] == "queued"
    user.wait_for_run(accepted)
    for one in waiting:
        assert user.run(one.run_id)["status"] == "waiting"
    for one in waiting:
        for approval in one.ids:
            confirmed(user, approval)
    for one in waiting:
        one.completed()
        assert [call["status"] for call in calls_of(user, one.run_id)] == ["succeeded"] * 2
