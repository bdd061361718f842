"""What `celery inspect`, `celery control` and Flower see and do: the agent queues, and each hosted workspace."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery.worker.control import control_command, inspect_command

from tasks.housekeeping import beside
from workspace.agent_bus import agent_queue
from workspace.names import WorkspaceKey
from workspace.request_queue import requests_queue
from workspace.space import UserWorkerSpace


@inspect_command(name="active_queues")
def active_queues(state: Any) -> list[dict[str, Any]]:
    """List the queues that this node consumes, those of its agents and of its workspaces' requests included."""
    consumer = state.consumer.task_consumer
    shared = [dict(queue.as_dict(recurse=True)) for queue in consumer.queues] if consumer else []
    agents = [agent_queue(agent.queue_name) for agent in state.app.node.queues.attached()]
    requests = [requests_queue(each.key) for each in state.app.node.requests.opened()]
    return shared + [dict(queue.as_dict(recurse=True)) for queue in (*agents, *requests)]


@inspect_command()
def workspaces(state: Any) -> dict[str, Any]:
    """Show each hosted workspace: its agents with limit, running and queued tasks, its cache, and its idle time."""
    node = state.app.node
    shown = {space.key.slug: space.get_metrics() | {"agents": {}} for space in node.hosted()}
    for agent in node.queues.attached():
        workspace = shown.get(agent.key.slug)
        if workspace is not None:
            workspace["agents"][agent.agent_name] = {
                "agent_id": str(agent.agent_id),
                "queue": agent.queue_name,
                "limit": agent.limit,
                "running": len(agent.running),
                "in_hand": agent.in_hand,
                "queued": node.queue_length(agent.queue_name),
            }
    return {
        "node_id": node.node_id,
        "cached_agents": len(node.cache),
        "commands": node.why_no_commands or "available",
        "workspaces": shown,
    }


@control_command(args=[("user_id", str), ("project_id", str)], signature="<user_id> <project_id>")
def reset_workspace(state: Any, user_id: str, project_id: str) -> dict[str, Any]:
    """Stop all work of a workspace that this node hosts, and begin it anew."""
    return _command(state, user_id, project_id, lambda space: _aside("resetting", space.reset))


@control_command(args=[("user_id", str), ("project_id", str)], signature="<user_id> <project_id>")
def close_workspace(state: Any, user_id: str, project_id: str) -> dict[str, Any]:
    """Close a workspace that this node hosts, after its running work has ended."""
    return _command(state, user_id, project_id, lambda space: _aside("closing", space.cleanup, "operator"))


def _aside(answer: str, act: Callable[..., object], *arguments: object) -> dict[str, Any]:
    """Begin something and say so: commands are answered on the worker's loop, which must not wait."""
    beside(answer, act, *arguments)
    return {"ok": answer}


def _command(
    state: Any, user_id: str, project_id: str, act: Callable[[UserWorkerSpace], dict[str, Any]]
) -> dict[str, Any]:
    try:
        key = WorkspaceKey(UUID(user_id), UUID(project_id))
    except ValueError:
        return {"error": "user_id and project_id are UUIDs"}
    space = state.app.node.manager.get(key)
    if space is None or not space.hosted:
        return {"ok": "not hosted here"}
    return act(space)
