"""A task that waits for its owner survives the end of everything, and what it did before is not done again."""

import os
import signal
from uuid import UUID

import psutil
import pytest
import redis

from models import Task, User
from models.statuses import TaskStatus
from models.tenancy import Database
from tests.integration.approvals.conftest import EndNode
from tests.integration.approvals.parked import ask_after_a_tool, goes_on
from tests.integration.approvals.steps import TRUSTED, append, ask, calls_of, confirmed, content_of, make_agent
from tests.integration.runs.own_system import OwnSystem
from tests.support.api import ApiClient
from tests.support.faults import answers, api_pid, database_pid, redis_pid
from tests.support.locks import row_held
from tests.support.persistence import RECOVERY
from tests.support.rows import user_id
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


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


def test_what_waits_and_what_is_between_two_turns_outlives_a_node_that_is_told_to_end(
    hurried: OwnSystem, end_node: EndNode, standin: Standin
) -> None:
    waiting = ask_after_a_tool(hurried.user())
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
    goes_on(waiting, standin, hurried.database)
