"""What Celery is told of the broker, by the kind of broker that `BROKER_URL` names."""

from typing import Any
from urllib.parse import urlsplit

from settings import Settings
from tasks.amqp_transport import SCHEMES
from workspace.keepalive import KEEPALIVE

NODE_PATIENCE = 10.0
"""Seconds for which a node waits for an answer of RabbitMQ."""


def is_amqp(broker_url: str) -> bool:
    """Whether the broker is RabbitMQ, not Redis."""
    return urlsplit(broker_url).scheme in SCHEMES


def node_options(broker_url: str) -> dict[str, Any]:
    """Return the transport's options for a process that may wait."""
    if is_amqp(broker_url):
        return {
            # A publish is over when the broker has the message, not when the kernel has it: what was written to a
            # connection that the broker had closed would be lost until the sweeper misses it.
            "confirm_publish": True,
            "patience": NODE_PATIENCE,
        }
    return {
        # Unacknowledged messages come back when their channel closes, and rows are swept every few seconds. This is
        # the last resort only, so it may be longer than any task.
        "visibility_timeout": 12 * 3600,
        # Each agent's channel renews its BRPOP this often while idle, and kombu looks at every channel each time: a
        # thousand of them would be a thousand commands a second at the default, and a fifth of a core at 30 seconds.
        # A peer that is gone is noticed by the sockets' keepalive.
        "brpop_timeout": 300,
        "socket_keepalive": True,
        "socket_keepalive_options": KEEPALIVE,
        "socket_connect_timeout": 2.0,
    }


def web_options(settings: Settings) -> dict[str, Any]:
    """Return the transport's options for a process that gives up within `redis_timeout`."""
    patience = settings.redis_timeout
    options = node_options(settings.broker) | {
        # kombu tries to connect again until this many seconds have passed.
        "connect_retries_timeout": patience / 2,
        "interval_start": 0.05,
        "max_retries": 1,
    }
    if is_amqp(settings.broker):
        return options | {"connect_timeout": patience, "patience": patience}
    return options | {"socket_timeout": patience, "socket_connect_timeout": patience}
