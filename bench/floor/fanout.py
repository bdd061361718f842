"""The floor for event streams: one Redis channel, one listener, a queue for each connection, and nothing else.

No token, no session, no replay, no bounds, no heartbeat: what a gunicorn gevent worker needs at least to bring a line
to many connections. The channel is fixed.
"""

from collections.abc import Iterator
from threading import Thread
from typing import Any

import redis
from flask import Flask, Response
from gevent.queue import Queue

from bench.floor.options import REDIS_URL

CHANNEL = "floor:fanout"


def create_app() -> Flask:
    """Build the app: gunicorn's entry. The listener starts with the first connection, after the fork."""
    app = Flask("fanout", static_folder=None)
    readers: set[Queue[bytes]] = set()
    listener: list[Thread] = []

    @app.get("/events")
    def stream_events() -> Response:
        if not listener:
            listener.append(Thread(target=_listen, args=(readers,), daemon=True))
            listener[0].start()
        return Response(_follow(readers), mimetype="application/x-ndjson")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _listen(readers: set["Queue[bytes]"]) -> None:
    client: Any = redis.Redis.from_url(REDIS_URL, socket_timeout=None)
    with client.pubsub() as subscription:
        subscription.subscribe(CHANNEL)
        for message in subscription.listen():
            if message["type"] == "message":
                line = message["data"] + b"\n"
                for reader in tuple(readers):
                    reader.put_nowait(line)


def _follow(readers: set["Queue[bytes]"]) -> Iterator[bytes]:
    reader: Queue[bytes] = Queue()
    readers.add(reader)
    try:
        yield b"\n"
        while True:
            yield reader.get()
    finally:
        readers.discard(reader)
