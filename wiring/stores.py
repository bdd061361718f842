"""Clients of Redis, by what their callers can bear to wait for."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from settings import Settings
from workspace.keepalive import KEEPALIVE
from workspace.memory.asking import PATIENCE


def redis_client(settings: Settings, *, url: str | None = None) -> redis.Redis:
    """Return a client for short commands: it fails within `redis_timeout` instead of holding its caller.

    A pooled connection that the server closed meanwhile is retried once; a server that is silent is not.

    Args:
        settings: its time limit counts.
        url: of another store than that of `REDIS_URL`.
    """
    return redis.Redis.from_url(
        url or settings.redis_url,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        # A thread or greenlet holds one for a command; the default of 100 would refuse the hundred-and-first.
        max_connections=2_048,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def redis_subscriber(settings: Settings) -> redis.Redis:
    """Return a client whose reads may wait for ever; it pings by itself, so that a dead peer is noticed."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=None,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        socket_keepalive_options=KEEPALIVE,
        health_check_interval=10,
    )


def redis_waiter(settings: Settings) -> redis.Redis:
    """Return a client whose reads wait for a reply as long as somebody waits for that; nothing is tried again."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=PATIENCE + settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        max_connections=2_048,
        retry=Retry(NoBackoff(), 0),
    )
