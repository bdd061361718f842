"""The floor for attached agents: bare kombu channels in one process, each with a consumer of a queue of its own.

No Celery, no tasks, no rows: what "a queue and a prefetch count for each agent" costs at least. It opens one channel,
waits for a number, and opens so many more.
"""

from typing import Any

import redis
from kombu.asynchronous.hub import Hub
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer

from bench.floor.options import BROKER_URL

OPEN = "floor:channels"
"""Where the number of open channels is told."""
WANTED = "floor:channels:wanted"
PREFETCH = 2
OPTIONS = {"brpop_timeout": 30}
"""As ours."""


def main() -> None:
    """Open the channels and consume for ever."""
    client: Any = redis.Redis.from_url(BROKER_URL, socket_timeout=None)
    exchange = Exchange("")
    with Connection(BROKER_URL, transport_options=OPTIONS) as connection:

        def add(number: int) -> None:
            channel = connection.channel()
            channel.basic_qos(0, PREFETCH, False)
            name = f"floor.channel.{number:036d}"
            queue = Queue(name, exchange, routing_key=name)
            Consumer(channel, [queue], on_message=lambda message: message.ack()).consume()

        add(0)
        client.set(OPEN, 1)
        _, wanted = client.blpop(WANTED)
        for number in range(1, int(wanted)):
            add(number)
        client.set(OPEN, int(wanted))
        # The loop that a Celery worker runs on; kombu's plain `drain_events` costs more.
        hub = Hub()
        connection.register_with_event_loop(hub)
        hub.run_forever()


if __name__ == "__main__":
    main()
