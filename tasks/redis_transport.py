"""The transport to Redis: kombu's, whose connections say that they were given up in a way that everybody expects.

Celery gives a lost connection up, and closes it then; and what was taken from a shared queue before is acknowledged
after. Both need a connection, of which kombu knows nothing any more, and what it raises then is no error of a
connection: it would end the node. What stays unacknowledged is harmless, since the rows say what there is to do.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as RedisConnectionError

SCHEMES = frozenset({"redis", "rediss"})
"""Of broker URLs that mean Redis."""


class Channel(redis.Channel):
    """A channel that knows when its connection was given up."""

    def _get_pool(self, asynchronous: bool = False) -> Any:
        """Return where commands get their sockets.

        Raises:
            RedisConnectionError: the channel's connection was given up.
        """
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection was given up")
        return super()._get_pool(asynchronous)


class Transport(redis.Transport):
    """For `redis://` and `rediss://`."""

    Channel = Channel


def use() -> None:
    """Have this process use it for every broker URL of its schemes; to be called before the first connection."""
    for scheme in SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
