"""What Celery does with a connection to Redis that is lost, which must fail at nothing that ends the node."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from celery import Celery
from kombu import Consumer, Producer
from kombu.common import ignore_errors

from tests.support.proxy import Proxy, proxy
from tests.support.stack import Stack
from tests.support.waiting import eventually
from workspace.agent_bus import agent_queue

pytestmark = pytest.mark.stack

OWN_BROKER = 7
"""In the stack's Redis: nobody else uses it."""


@pytest.fixture
def way(stack: Stack) -> Iterator[Proxy]:
    url = urlunsplit(urlsplit(stack.redis_url)._replace(path=f"/{OWN_BROKER}"))
    with redis.Redis.from_url(url) as client, proxy(url) as to_redis:
        client.flushdb()
        yield to_redis
        client.flushdb()


@pytest.fixture
def connection(way: Proxy) -> Iterator[Any]:
    """The connection of a node to its broker."""
    app = Celery("transport", set_as_current=False)
    app.config_from_object("celeryconfig")
    app.conf.broker_url = way.url
    yield app.connection_for_read()
    app.close()


def in_hand(connection: Any, channel: Any, name: str) -> Any:
    """Return a message that was taken and not acknowledged, while its channel waits for the next one."""
    taken: list[Any] = []
    queue = agent_queue(name)
    Producer(channel).publish({}, routing_key=queue.name, declare=[queue])
    consumer = Consumer(channel, queues=[queue], on_message=taken.append, accept=["json"])
    consumer.consume()

    def waits_on() -> bool:
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.2)
        return bool(taken) and bool(channel._in_poll)

    eventually(waits_on, "a message to be in hand")
    return taken[0]


def test_a_lost_connection_with_a_message_in_hand_is_given_up_closed_and_acknowledged(
    connection: Any, way: Proxy
) -> None:
    errors = connection.connection_errors
    message = in_hand(connection, connection.default_channel, "shared")
    # What an agent's channel cannot put back keeps kombu from closing those before it.
    in_hand(connection, connection.channel(), "an agent's")
    way.cut()
    connection.collect(socket_timeout=1)
    ignore_errors(connection, connection.close)
    message.ack_log_error(logging.getLogger(__name__), errors)
