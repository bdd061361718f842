"""The floor's HTTP side: accept a message, relay a session's events."""

from collections.abc import Iterator
from typing import Any

import redis
from flask import Flask, Response, request

from bench.floor import queue
from bench.floor.options import CONNECTIONS, DATABASE_URL, REDIS_URL
from bench.floor.store import Store


def create_app() -> Flask:
    """Build the app: gunicorn's entry."""
    app = Flask("floor", static_folder=None)
    store = Store(DATABASE_URL, CONNECTIONS)
    client = redis.Redis.from_url(REDIS_URL, socket_timeout=None, max_connections=10_000)

    @app.post("/sessions/<session_id>/messages")
    def post_message(session_id: str) -> tuple[dict[str, str], int]:
        content = request.get_json()["content"]
        message_id, run_id, task_id = store.accept(session_id, content)
        queue.app.send_task(queue.ANSWER, [session_id, run_id, task_id, content, "raw" in request.args])
        return {"message_id": message_id, "run_id": run_id, "task_id": task_id}, 202

    @app.get("/sessions/<session_id>/events")
    def stream_events(session_id: str) -> Response:
        return Response(_relay(client, f"floor:{session_id}"), mimetype="application/x-ndjson")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _relay(client: Any, channel: str) -> Iterator[bytes]:
    with client.pubsub() as subscription:
        subscription.subscribe(channel)
        for message in subscription.listen():
            # The first is the confirmation: from here on the listener misses nothing.
            yield message["data"] + b"\n" if message["type"] == "message" else b"\n"
