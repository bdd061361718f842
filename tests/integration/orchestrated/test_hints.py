"""The host of a workspace is told of a queue that it has to consume, and of no other."""

from collections import Counter

import pytest
import redis

from tests.integration.orchestrated.steps import Request, configure, send
from tests.support.api import ApiClient
from tests.support.stack import Stack
from tests.support.standin import Standin
from workspace.broadcast import Change, parse_notice
from workspace.names import NODES_CHANNEL

pytestmark = pytest.mark.stack


def test_a_host_is_told_once_of_each_queue_that_a_plan_needs(user: ApiClient, standin: Standin, stack: Stack) -> None:
    agents = {name: user.make_agent(name, memory={"enabled": False})["id"] for name in ("helper", "writer")}
    configure(user, plan_approval="auto")
    graph = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"], "f": ["e"]}
    request = Request(standin).plan(graph, {"e": "writer", "f": "writer"})
    for task in graph:
        request.work(task, say=f"result of {task}")
    with redis.Redis.from_url(stack.redis_url) as client, client.pubsub() as hints:
        hints.subscribe(NODES_CHANNEL)
        assert hints.get_message(timeout=5.0), "the confirmation"
        user.wait_for_run(send(user, user.make_session()["id"], request))
        told: Counter[str] = Counter()
        while (message := hints.get_message(timeout=0.2)) is not None:
            notice = parse_notice(message["data"])
            if notice and notice.change is Change.AGENT_NEEDED and notice.agent_id:
                told[str(notice.agent_id)] += 1
    assert {name: told[agent] for name, agent in agents.items()} == {"helper": 1, "writer": 1}
