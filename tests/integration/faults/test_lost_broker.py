"""A node that has work in hand when its broker is lost goes on when the broker is back."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
import redis
from celery import Celery
from celery.canvas import Signature

from tests.support.processes import own_node
from tests.support.proxy import proxy
from tests.support.stack import Stack
from tests.support.waiting import eventually
from workspace.agent_bus import AgentBus, agent_queue
from workspace.names import QueueName, TaskName

pytestmark = pytest.mark.stack

OWN_BROKER, OWN_RESULTS = 5, 6
"""In the stack's Redis: neither the stack nor the systems of other tests use them."""


def numbered(url: str, number: int) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


@pytest.fixture
def broker(stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(numbered(stack.redis_url, OWN_BROKER)) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def sender(stack: Stack) -> Iterator[Celery]:
    made = Celery("tests", set_as_current=False)
    made.config_from_object("celeryconfig")
    made.conf.broker_url = numbered(stack.redis_url, OWN_BROKER)
    yield made
    made.close()


def send_a_part(sender: Celery) -> None:
    """Send a part of a chord: whoever takes it has it in hand until the results answer."""
    body = Signature(TaskName.RUN_AGENT_TASK.value, args=(str(uuid4()),), immutable=True)
    AgentBus(sender).send(
        TaskName.ARRIVE, [], agent_queue(QueueName.CONTROL), group_id=uuid4().hex, group_index=0, chord=body
    )


def test_a_node_outlives_the_loss_of_its_broker_with_a_message_of_a_shared_queue_in_hand(
    stack: Stack, broker: redis.Redis, sender: Celery, tmp_path: Path
) -> None:
    with proxy(numbered(stack.redis_url, OWN_BROKER)) as way, proxy(numbered(stack.redis_url, OWN_RESULTS)) as results:
        options = {"BROKER_URL": way.url, "RESULT_BACKEND_URL": results.url}
        with own_node(tmp_path / "node.log", **options) as node:
            node.await_ready()
            results.freeze()
            send_a_part(sender)
            eventually(lambda: broker.hlen("unacked") == 1, "the node to have it in hand")
            way.cut()
            eventually(lambda: "Connection to broker lost" in node.log.read_text(), "the node to notice", within=30)
            way.mend()
            results.mend()
            pinged = sender.control.inspect(destination=[node.name], timeout=2.0)
            eventually(lambda: not node.is_running or pinged.ping(), "the node to be back", within=30)
            assert node.is_running, node.log.read_text()[-3_000:]
