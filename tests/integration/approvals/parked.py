"""A run that did one thing and asks for another: what everything that can break must leave as it is."""

from uuid import UUID

import httpx

from models import Task
from models.tenancy import Database
from tests.integration.approvals.steps import (
    TRUSTED,
    Asked,
    append,
    ask,
    calls_of,
    confirm,
    confirmed,
    content_of,
    make_agent,
    next_question,
    requests_for,
)
from tests.support.api import ApiClient
from tests.support.persistence import RECOVERY, says_to_come_back, settle
from tests.support.standin import Standin
from tests.support.waiting import eventually

SECOND = f"src/{TRUSTED}"


def ask_after_a_tool(user: ApiClient) -> Asked:
    """Return a run that did one thing already, and asks for another."""
    make_agent(user)
    one = ask(user, f"{append(TRUSTED, 'x')} [then] {append(SECOND, 'x')} [then] [say=done]")
    confirmed(user, one.id)
    question = next_question(user, one.run_id, after=one.id)
    eventually(lambda: user.run(one.run_id)["status"] == "waiting", "the run to wait again")
    return Asked(user, one.accepted, one.session, one.content, [question])


def confirm_at_last(one: Asked) -> None:
    """Approve as soon as the API is able to; the only errors allowed are those that say to come back."""

    def approved() -> bool:
        try:
            answer = confirm(one.user, one.id)
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            says_to_come_back(answer)
        return answer.status_code == 200

    eventually(approved, "the yes to be taken", within=RECOVERY, every=0.1)


def goes_on(one: Asked, standin: Standin, database: Database) -> None:
    """Approve, and see that the run does each thing once."""
    confirm_at_last(one)
    (run,) = settle(one.user, [one.accepted])
    assert run["status"] == "completed", run
    assert one.user.messages(one.session)[-1]["content"] == "done"
    assert [call["status"] for call in calls_of(one.user, one.run_id)] == ["succeeded"] * 2
    assert (content_of(one.user, TRUSTED), content_of(one.user, SECOND)) == ("x", "x")
    with database.system_session("a test looks") as session:
        assert session.get_one(Task, UUID(one.accepted["task_id"])).attempts == 3
    assert len(requests_for(standin, one.content)) == 3, "the model was asked again for what it had said"
