"""A task that waits for its owner survives the end of everything, and what it did before is not done again."""

import os
import signal
from uuid import UUID

import httpx
import psutil
import pytest
import redis

from models import Task, User
from models.statuses import TaskStatus
from models.tenancy import Database
from tests.integration.approvals.conftest import EndNode
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
from tests.integration.runs.own_system import OwnSystem
from tests.support.api import ApiClient
from tests.support.faults import answers, api_pid, database_pid, redis_pid
from tests.support.locks import row_held
from tests.support.persistence import RECOVERY, says_to_come_back, settle
from tests.support.rows import user_id
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack

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


def kill_api(stack: Stack, _: redis.Redis) -> None:
    parent = psutil.Process(api_pid(stack))
    for process in (*parent.children(), parent):
        process.kill()


def kill_redis(_: Stack, store: redis.Redis) -> None:
    os.kill(redis_pid(store), signal.SIGKILL)
    eventually(lambda: answers(store), "Redis to come back", within=RECOVERY)
    assert store.dbsize() < 100, "Redis kept its data"


def restart_database(stack: Stack, _: redis.Redis) -> None:
    os.kill(database_pid(stack), signal.SIGINT)  # a fast shutdown: every session is ended


@pytest.mark.parametrize("fault", [kill_api, kill_redis, restart_database])
def test_the_answer_after_a_restart_counts(
    user: ApiClient, standin: Standin, database: Database, stack: Stack, store: redis.Redis, fault: object
) -> None:
    one = ask_after_a_tool(user)
    assert callable(fault)
    fault(stack, store)
    goes_on(one, standin, database)


def test_an_answer_while_redis_is_away_is_carried_out_when_it_is_back(
    user: ApiClient, standin: Standin, database: Database, store: redis.Redis
) -> None:
    one = ask_after_a_tool(user)
    os.kill(redis_pid(store), signal.SIGKILL)
    goes_on(one, standin, database)


def test_a_message_that_goes_out_with_an_answer_is_missed_as_soon_as_the_first_one(
    user: ApiClient, database: Database
) -> None:
    one = ask_after_a_tool(user)
    with row_held(database, User, user_id(database, user.subject)) as hold:
        confirmed(user, one.id)
        hold.await_waiting()
        with database.system_session("a test looks") as session:
            task = session.get_one(Task, UUID(one.accepted["task_id"]))
        # By how often it was sent, the sweeper waits until it sends it again.
        assert (task.status, task.send_count) == (TaskStatus.QUEUED, 1)
    one.completed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_answer_after_the_end_of_its_node_counts(
    hurried: OwnSystem, end_node: EndNode, standin: Standin, number: signal.Signals
) -> None:
    one = ask_after_a_tool(hurried.user())
    end_node(number)
    goes_on(one, standin, hurried.database)


def test_a_node_that_is_told_to_end_between_two_turns_hands_over_what_it_did(
    hurried: OwnSystem, end_node: EndNode, standin: Standin
) -> None:
    user = hurried.user()
    agent = make_agent(user)
    one = ask(user, f"{append(TRUSTED, 'x')} [then] [silent=60x1] [say=done]")
    confirmed(user, one.id)
    eventually(lambda: standin.witness(agent["id"])["total"] == 2, "the second turn")
    end_node(signal.SIGTERM)
    one.completed()
    assert user.messages(one.session)[-1]["content"] == "done"
    assert [call["status"] for call in calls_of(user, one.run_id)] == ["succeeded"]
    assert content_of(user, TRUSTED) == "x"
