"""The way of a chord's body to its agent's queue.

A worker that counts the last part of a chord sends the body by its name and its options, and knows no queue of an agent
by name: Celery declares only the shared ones, and makes none up.
"""

from collections.abc import Mapping
from typing import Any

from kombu.entity import Queue

from workspace.agent_bus import agent_queue
from workspace.names import TaskName


def to_agent_queue(
    name: str, _args: object, _kwargs: object, options: Mapping[str, Any], **_more: object
) -> dict[str, Queue] | None:
    """Return the queue that a message of an agent's task names by its routing key; `None` for all other messages."""
    if name != TaskName.RUN_AGENT_TASK or "queue" in options:
        return None
    routing_key = options.get("routing_key")
    return {"queue": agent_queue(routing_key)} if routing_key else None
