"""A node that is killed under RabbitMQ: what it ran ends, what it held goes on elsewhere."""

import pytest

from tests.integration.rabbitmq.system import System
from tests.support.api import ApiClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.stack


def test_a_killed_node_fails_what_it_ran_and_another_goes_on(system: System, user: ApiClient) -> None:
    user.make_agent(concurrency_limit=1)
    with system.node() as first:
        running = user.send(user.make_session()["id"], "[delay=30]")
        queued = [user.send(user.make_session()["id"], "[say=goes on]") for _ in range(2)]
        eventually(lambda: user.run(running["run_id"])["status"] == "running", "the first to run")
        first.kill()
        with system.node():
            lost = user.wait_for_run(running, status="failed")
            for one in queued:
                user.wait_for_run(one)
    assert lost["error"]["error_code"] == "worker_lost"
