"""An agent never works on more tasks at once than its limit, and never keeps fewer than it could."""

import time

import pytest

from tests.support.api import ApiClient
from tests.support.standin import Standin

pytestmark = pytest.mark.stack


def test_ten_messages_in_ten_sessions_never_exceed_a_limit_of_two(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=2)
    sessions = [user.make_session()["id"] for _ in range(10)]
    started = time.monotonic()
    accepted = [user.send(session, "[delay=0.5]") for session in sessions]
    for one in accepted:
        user.wait_for_run(one)
    took = time.monotonic() - started
    assert standin.witness(agent["id"]) == {"current": 0, "max": 2, "total": 10}
    assert took < 2 * 10 / 2 * 0.5, "the slots were not kept busy"


def test_raising_the_limit_speeds_up_what_waits_and_lowering_it_holds(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    sessions = [user.make_session()["id"] for _ in range(12)]
    accepted = [user.send(session, "[delay=0.4]") for session in sessions]
    user.wait_for_run(accepted[0])
    assert standin.witness(agent["id"])["max"] == 1
    user.put(f"agents/{agent['id']}/", {"name": "helper", "concurrency_limit": 5})
    user.wait_for_run(accepted[6])
    assert standin.witness(agent["id"])["max"] == 5
    user.put(f"agents/{agent['id']}/", {"name": "helper", "concurrency_limit": 2})
    for one in accepted:
        user.wait_for_run(one)
    assert standin.witness(agent["id"])["max"] == 5
    more = [user.send(session, "[delay=0.3]") for session in sessions[:6]]
    seen = 0
    while any(user.run(one["run_id"])["status"] != "completed" for one in more):
        seen = max(seen, standin.witness(agent["id"])["current"])
    assert seen == 2


def test_a_full_queue_refuses_the_next_message_and_loses_none(user: ApiClient) -> None:
    user.make_agent(concurrency_limit=1)
    blocker = user.make_session()["id"]
    user.send(blocker, "[delay=60]")
    session = user.make_session()["id"]
    positions = []
    refused = None
    for number in range(110):
        answer = user.post(f"chat/{session}/message/", {"content": f"message {number}", "target_agent": "helper"})
        if answer.status_code == 429:
            refused = answer
            break
        positions.append(answer.json()["queue_position"])
    assert refused is not None, "the queue took 110 messages"
    assert refused.json()["error_code"] == "agent_queue_full"
    assert refused.json()["queue_position"] == 100
    assert int(refused.headers["Retry-After"]) >= 1
    assert positions == sorted(positions)
    assert len(user.messages(session)) == len(positions)
    assert user.delete(f"agents/{user.get('agents/').json()['items'][0]['id']}/").status_code == 204


def test_a_deleted_agent_stops_at_once_and_its_waiting_tasks_are_cancelled(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    running = user.send(user.make_session()["id"], "[silent=60]")
    session = user.make_session()["id"]
    waiting = [user.send(session, "hello") for _ in range(2)]
    while standin.witness(agent["id"])["current"] == 0:
        time.sleep(0.02)
    asked = time.monotonic()
    assert user.delete(f"agents/{agent['id']}/").status_code == 204
    while standin.witness(agent["id"])["current"]:
        assert time.monotonic() - asked < 3, "the model call went on"
        time.sleep(0.02)
    for one in (running, *waiting):
        run = user.wait_for_run(one, status="cancelled")
        assert run["error"]["error_code"] == "agent_deleted"
        assert run["tasks"][0]["agent_id"] is None
        assert run["tasks"][0]["agent_name"] == "helper"
    user.make_agent()
    user.answered(session, "[say=a new one of the same name]")
