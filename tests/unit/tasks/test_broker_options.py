"""Each kind of broker is told what it understands, and the web process never waits for long."""

from collections.abc import Mapping
from typing import Any

import pytest
from kombu import Connection

from settings import Settings
from tasks import amqp_transport, redis_transport
from tasks.broker_options import is_amqp, node_options, web_options

REDIS = "redis://127.0.0.1:6379/1"


def _web(broker_url: str) -> Mapping[str, Any]:
    settings = Settings(
        database_url="postgresql://x/y", redis_url=REDIS, broker_url=broker_url, jwt_secret="x" * 32, redis_timeout=0.3
    )
    return web_options(settings)


@pytest.mark.parametrize("scheme", ["amqp", "amqps", "pyamqp"])
def test_rabbitmq_is_known_by_its_schemes_and_waits_for_it_end(scheme: str) -> None:
    url = f"{scheme}://user:secret@mq.example/vhost"
    assert is_amqp(url)
    assert not is_amqp(REDIS)
    amqp_transport.use()
    connection = Connection(url)
    assert connection.transport.Connection is amqp_transport.Connection
    assert connection.transport.driver_type == "amqp"
    assert bool(connection.ssl) is (scheme == "amqps")


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_redis_is_spoken_to_by_a_transport_that_ends_without_an_error(scheme: str) -> None:
    redis_transport.use()
    connection = Connection(f"{scheme}://127.0.0.1:6379/1")
    assert connection.transport.Channel is redis_transport.Channel
    assert connection.transport.driver_type == "redis"
    assert bool(connection.ssl) is (scheme == "rediss")


def test_publishes_to_rabbitmq_are_confirmed() -> None:
    assert node_options("amqp://mq")["confirm_publish"] is True
    assert _web("amqp://mq")["confirm_publish"] is True


def test_the_web_process_bounds_what_each_broker_is_waited_for() -> None:
    assert {name: _web("amqp://mq")[name] for name in ("patience", "connect_timeout")} == {
        "patience": 0.3,
        "connect_timeout": 0.3,
    }
    assert {name: _web(REDIS)[name] for name in ("socket_timeout", "socket_connect_timeout")} == {
        "socket_timeout": 0.3,
        "socket_connect_timeout": 0.3,
    }


def test_options_of_one_broker_are_not_told_to_the_other() -> None:
    assert not {"visibility_timeout", "brpop_timeout", "socket_timeout"} & set(_web("amqp://mq"))
    assert not {"confirm_publish", "patience"} & set(_web(REDIS))
