"""What breaks comes back, and nothing that was accepted is lost.

These tests break the stack's own parts: they run one after the other, and each waits until all is well again.
"""

import os
import signal
import time

import pytest
import redis

from tests.conftest import MakeUser
from tests.support.api import ApiClient
from tests.support.faults import answers, database_pid, model_pid, redis_pid, stopped, worker_pids
from tests.support.persistence import RECOVERY, post_until_accepted, settle
from tests.support.stack import Stack
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def _replies(user: ApiClient, session: str) -> list[str]:
    return [message["content"] for message in user.messages(session) if message["role"] == "assistant"]


def test_a_silent_broker_delays_answers_and_loses_none(user: ApiClient, standin: Standin, store: redis.Redis) -> None:
    agent = user.make_agent(concurrency_limit=2)
    sessions = [user.make_session()["id"] for _ in range(8)]
    accepted = [post_until_accepted(user, session, f"[delay=0.3] [say=reply in {session}]") for session in sessions[:4]]
    with stopped(redis_pid(store)):
        begun = time.monotonic()
        accepted += [post_until_accepted(user, session, f"[say=reply in {session}]") for session in sessions[4:6]]
        assert time.monotonic() - begun < 2 * 5, "a message waits for the broker"
        time.sleep(1.0)
    accepted += [post_until_accepted(user, session, f"[say=reply in {session}]") for session in sessions[6:]]
    runs = settle(user, accepted)
    assert [run["status"] for run in runs] == ["completed"] * 8
    assert [_replies(user, session) for session in sessions] == [[f"reply in {session}"] for session in sessions]
    assert standin.witness(agent["id"])["max"] <= 2


def test_a_broker_that_lost_all_its_data_loses_no_message(
    user: ApiClient, standin: Standin, store: redis.Redis
) -> None:
    agent = user.make_agent(concurrency_limit=2)
    sessions = [user.make_session()["id"] for _ in range(10)]
    accepted = [post_until_accepted(user, session, f"[delay=0.5] [say=reply in {session}]") for session in sessions[:6]]
    os.kill(redis_pid(store), signal.SIGKILL)
    accepted += [post_until_accepted(user, session, f"[say=reply in {session}]") for session in sessions[6:]]
    runs = settle(user, accepted)
    assert [run["status"] for run in runs] == ["completed"] * 10
    assert [_replies(user, session) for session in sessions] == [[f"reply in {session}"] for session in sessions]
    assert standin.witness(agent["id"])["max"] <= 2
    assert standin.witness(agent["id"])["total"] == 10, "a task ran twice"


def test_streams_go_on_after_the_broker_came_back(user: ApiClient, store: redis.Redis) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    with user.events(session) as stream:
        user.answered(session, "[say=before]")
        stream.until("run_completed")
        os.kill(redis_pid(store), signal.SIGKILL)
        eventually(lambda: answers(store), "Redis to come back", within=RECOVERY)
        gap = stream.until("stream_gap", within=RECOVERY)[-1]
        assert gap.payload["snapshot_url"].endswith(f"/chat/{session}/messages/")
        settle(user, [post_until_accepted(user, session, "[say=after]")])
        stream.until("run_completed", within=RECOVERY)


def test_a_model_that_is_away_for_a_while_makes_answers_late(user: ApiClient, stack: Stack) -> None:
    user.make_agent()
    sessions = [user.make_session()["id"] for _ in range(3)]
    with stopped(model_pid(stack)):
        accepted = [post_until_accepted(user, session, f"[say=reply in {session}]") for session in sessions]
        time.sleep(1.0)
    assert [run["status"] for run in settle(user, accepted)] == ["completed"] * 3


def test_a_killed_node_fails_what_it_ran_and_the_rest_goes_on(make_user: MakeUser, stack: Stack) -> None:
    user = make_user()
    user.make_agent(concurrency_limit=1)
    session = user.make_session()["id"]
    running = post_until_accepted(user, session, "[delay=4]")
    held = post_until_accepted(user, session, "[say=second of the session]")
    queued = post_until_accepted(user, user.make_session()["id"], "[say=second of the agent]")
    eventually(lambda: user.run(str(running["run_id"]))["status"] == "running", "the first to run")
    for pid in worker_pids(stack):
        os.kill(pid, signal.SIGKILL)
    runs = settle(user, [running, held, queued])
    assert runs[0]["status"] == "failed"
    assert runs[0]["error"]["error_code"] == "worker_lost"  # type: ignore[index]
    assert runs[0]["error"]["retryable"] is True  # type: ignore[index]
    assert [run["status"] for run in runs[1:]] == ["completed"] * 2


def test_a_restarted_database_loses_no_message(user: ApiClient, stack: Stack) -> None:
    user.make_agent()
    sessions = [user.make_session()["id"] for _ in range(6)]
    accepted = [post_until_accepted(user, session, f"[delay=1.0] [say=reply in {session}]") for session in sessions[:3]]
    os.kill(database_pid(stack), signal.SIGINT)  # a fast shutdown: every session is ended
    accepted += [post_until_accepted(user, session, f"[say=reply in {session}]") for session in sessions[3:]]
    runs = settle(user, accepted)
    assert [run["status"] for run in runs] == ["completed"] * 6
    assert [_replies(user, session) for session in sessions] == [[f"reply in {session}"] for session in sessions]
