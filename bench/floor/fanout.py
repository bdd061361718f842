"""The floor for event streams: one Redis channel, one listener, a queue for each connection, and nothing else.

No token, no session, no replay, no bounds, no heartbeat: what a gunicorn gevent worker needs at least to bring a line
to many connections. The channel is fixed.
"""

from collections.abc import Iterator
from threading import Lock, Thread
from typing import Any

import redis
from flask import Flask, Response
from gevent.queue import Queue

from bench.floor.options import REDIS_URL

CHANNEL = "floor:fanout"


def create_app() -> Flask:
    """Build the app: gunicorn's entry. The listener starts with the first connection, after the fork."""
    app = Flask("fanout", static_folder=None)
    fan = Fan()

    @app.get("/events")
    def stream_events() -> Response:
        fan.start()
        return Response(fan.follow(), mimetype="application/x-ndjson")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


class Fan:
    """The listener and its readers."""

    def __init__(self) -> None:
        self._readers: set[Queue[bytes]] = set()
        self._lock = Lock()
        self._started = False

    def start(self) -> None:
        """Subscribe, the first time; the subscription is confirmed when this returns."""
        with self._lock:
            if not self._started:
                client: Any = redis.Redis.from_url(REDIS_URL, socket_timeout=None)
                messages = _subscribed(client)
                next(messages)
                Thread(target=self._listen, args=(messages,), daemon=True).start()
                self._started = True

    def _listen(self, messages: Iterator[dict[str, Any]]) -> None:
        for message in messages:
            line = message["data"] + b"\n"
            for reader in tuple(self._readers):
                reader.put_nowait(line)

    def follow(self) -> Iterator[bytes]:
        """Yield what is published, after one empty line."""
        reader: Queue[bytes] = Queue()
        self._readers.add(reader)
        try:
            yield b"\n"
            while True:
                yield reader.get()
        finally:
            self._readers.discard(reader)


def _subscribed(client: Any) -> Iterator[dict[str, Any]]:
    """Yield the confirmation of the subscription, then the messages."""
    with client.pubsub() as subscription:
        subscription.subscribe(CHANNEL)
        yield from subscription.listen()
