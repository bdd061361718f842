"""The floor's one task: mark it running, ask the model, store the reply, tell the listener."""

import json
from functools import cache

import redis

from bench.floor.model import answer
from bench.floor.options import CONNECTIONS, DATABASE_URL, REDIS_URL
from bench.floor.queue import ANSWER, app
from bench.floor.store import Store


@cache
def store() -> Store:
    """Return the process's store."""
    return Store(DATABASE_URL, CONNECTIONS)


@cache
def events() -> redis.Redis:
    """Return the process's Redis client."""
    return redis.Redis.from_url(REDIS_URL)


def channel(session_id: str) -> str:
    """Return the pub/sub channel of a session."""
    return f"floor:{session_id}"


def run(session_id: str, run_id: str, task_id: str, content: str, raw: bool) -> None:
    """Answer one message. The first piece of text is published at once, the rest with the end."""
    store().start(run_id, task_id)
    pieces: list[str] = []
    usage: dict[str, int] = {}
    for piece in answer(content, raw=raw):
        if piece.text:
            if not pieces:
                _publish(session_id, "task_progress", run_id, text=piece.text)
            pieces.append(piece.text)
        usage = piece.usage or usage
    reply = "".join(pieces)
    message_id = store().finish(session_id, run_id, task_id, reply, usage)
    _publish(session_id, "run_completed", run_id, message_id=message_id, content=reply, usage=usage)


def _publish(session_id: str, event_type: str, run_id: str, **payload: object) -> None:
    event = {"event_type": event_type, "session_id": session_id, "run_id": run_id, "payload": payload}
    events().publish(channel(session_id), json.dumps(event))


app.task(name=ANSWER)(run)
