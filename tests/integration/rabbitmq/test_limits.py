"""RabbitMQ hands out no more of an agent's tasks than its limit, whatever happens to the limit meanwhile."""

import pytest

from tests.integration.rabbitmq.system import OwnNode, System
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("node")]


def test_a_message_is_answered(user: ApiClient) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    user.answered(session, "[say=by way of RabbitMQ]")
    assert [message["content"] for message in user.messages(session)][-1] == "by way of RabbitMQ"


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_limit_is_kept_exactly(user: ApiClient, standin: Standin, limit: int) -> None:
    agent = user.make_agent(concurrency_limit=limit)
    accepted = [user.send(user.make_session()["id"], "[delay=0.3]") for _ in range(limit * 3 + 1)]
    for one in accepted:
        user.wait_for_run(one)
    assert standin.witness(agent["id"]) == {"current": 0, "max": limit, "total": len(accepted)}


def test_a_limit_raised_and_lowered_while_tasks_run_holds(user: ApiClient, standin: Standin) -> None:
    agent = user.make_agent(concurrency_limit=1)
    sessions = [user.make_session()["id"] for _ in range(14)]
    accepted = [user.send(session, "[delay=0.6]") for session in sessions]
    user.wait_for_run(accepted[0])
    assert standin.witness(agent["id"])["max"] == 1
    user.put(f"agents/{agent['id']}/", {"name": "helper", "concurrency_limit": 5})
    eventually(lambda: standin.witness(agent["id"])["current"] == 5, "all five slots to be used", within=10)
    user.put(f"agents/{agent['id']}/", {"name": "helper", "concurrency_limit": 2})
    for one in accepted:
        user.wait_for_run(one)
    seen = standin.witness(agent["id"])
    assert (seen["max"], seen["total"]) == (5, len(accepted)), "a task ran twice"
    more = [user.send(session, "[delay=3]") for session in sessions[:4]]
    eventually(lambda: standin.witness(agent["id"])["current"] == 2, "both slots to be used")
    most = 2
    while any(user.run(one["run_id"])["status"] != "completed" for one in more):
        most = max(most, standin.witness(agent["id"])["current"])
    assert most == 2
    assert standin.witness(agent["id"])["total"] == len(accepted) + len(more)


def test_a_deleted_agent_stops_at_once_and_others_do_not_notice(
    user: ApiClient, standin: Standin, node: OwnNode
) -> None:
    agent = user.make_agent(concurrency_limit=1)
    other = user.make_agent("other", concurrency_limit=1)
    undisturbed = user.send(user.make_session()["id"], "[delay=3] [say=done]", "other")
    running = user.send(user.make_session()["id"], "[silent=60]")
    waiting = user.send(user.make_session()["id"], "hello")
    eventually(lambda: standin.witness(agent["id"])["current"] == 1, "the first to run")
    eventually(lambda: standin.witness(other["id"])["current"] == 1, "the other's to run")
    losses = node.losses()
    assert user.delete(f"agents/{agent['id']}/").status_code == 204
    eventually(lambda: standin.witness(agent["id"])["current"] == 0, "the model call to end", within=3)
    for one in (running, waiting):
        assert user.wait_for_run(one, status="cancelled")["error"]["error_code"] == "agent_deleted"
    user.wait_for_run(undisturbed)
    assert standin.witness(other["id"]) == {"current": 0, "max": 1, "total": 1}
    assert node.losses() == losses, "a deleted queue cost all agents their channels"
    user.make_agent()
    user.answered(user.make_session()["id"], "[say=a new one of the same name]")


def test_a_queue_that_somebody_deleted_comes_back(system: System, user: ApiClient, node: OwnNode) -> None:
    before = set(system.rabbitmq.queues())
    user.make_agent()
    session = user.make_session()["id"]
    user.answered(session, "[say=before]")
    losses = node.losses()
    (queue,) = set(system.rabbitmq.queues()) - before
    system.rabbitmq.control("delete_queue", queue)
    user.answered(session, "[say=after]")
    assert node.losses() == losses
