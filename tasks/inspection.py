"""What `celery inspect` and Flower see: the agent queues among the active ones, and each hosted workspace."""

import time
from typing import Any

from celery.worker.control import inspect_command

from workspace.agent_bus import agent_queue


@inspect_command(name="active_queues")
def active_queues(state: Any) -> list[dict[str, Any]]:
    """List the queues that this node consumes, those of its agents included."""
    consumer = state.consumer.task_consumer
    shared = [dict(queue.as_dict(recurse=True)) for queue in consumer.queues] if consumer else []
    agents = state.app.node.queues.attached()
    return shared + [dict(agent_queue(agent.queue_name).as_dict(recurse=True)) for agent in agents]


@inspect_command()
def workspaces(state: Any) -> dict[str, Any]:
    """Show each hosted workspace: its agents with limit, running and queued tasks, and how long it is idle."""
    node = state.app.node
    now = time.monotonic()
    shown: dict[str, Any] = {
        key.slug: {
            "epoch": hosted.epoch,
            "idle_seconds": round(now - hosted.last_used, 1),
            "hosted_seconds": round(now - hosted.hosted_since, 1),
            "agents": {},
        }
        for key, hosted in node.hosted().items()
    }
    for agent in node.queues.attached():
        workspace = shown.get(agent.key.slug)
        if workspace is not None:
            workspace["agents"][agent.agent_name] = {
                "agent_id": str(agent.agent_id),
                "queue": agent.queue_name,
                "limit": agent.limit,
                "running": len(agent.running),
                "queued": node.queue_length(agent.queue_name),
            }
    return {"node_id": node.node_id, "cached_agents": len(node.cache), "workspaces": shown}
