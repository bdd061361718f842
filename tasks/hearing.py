"""What a node is told by others, and what it does then. A notice that is lost is found by the node's own looks."""

from uuid import UUID

import structlog

from tasks.housekeeping import beside
from tasks.node_parts import NodeParts
from workspace.broadcast import Change, Notice
from workspace.cancellation import failure_of
from workspace.errors import AgentDeleted, Cancelled
from workspace.hosted_space import HostedSpace

log = structlog.get_logger(__name__)


class Hearing:
    """Carries out notices."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts

    def hear(self, notice: Notice) -> None:
        """Carry out one notice."""
        if notice.change in {Change.AGENT_CHANGED, Change.AGENT_DELETED} and notice.agent_id is not None:
            self._parts.cache.invalidate(notice.key, notice.agent_id)
        if notice.change is Change.MEMORY_NEEDED:
            self._parts.requests.hear(notice.key)  # also where this node hosts it only in a moment
            return
        space = self._parts.manager.get(notice.key)
        host = space.host if space and space.hosted else None
        if host is None:
            return
        if notice.agent_id is not None:
            self._hear_of_agent(notice.change, notice.agent_id, host)
        else:
            self._hear_of_workspace(notice, host)

    def _hear_of_agent(self, change: Change, agent_id: UUID, host: HostedSpace) -> None:
        match change:
            case Change.AGENT_DELETED:
                host.detach(agent_id, AgentDeleted())
                # Nobody else can remove what this node has open.
                beside("memory-removal", self._parts.orphaned_memory.remove, host.key)
            case Change.AGENT_NEEDED:
                host.attach_by_id(agent_id)
            case Change.AGENT_CHANGED:
                if any(agent.agent_id == agent_id for agent in self._parts.queues.attached_to(host.key)):
                    host.attach_by_id(agent_id)
            case _:
                log.warning("notice_malformed", change=change)

    def _hear_of_workspace(self, notice: Notice, host: HostedSpace) -> None:
        match notice.change:
            case Change.WORKSPACE_DELETED:
                host.lose(AgentDeleted("The project was deleted."))
                self._parts.cache.clear(notice.key)
                self._parts.manager.forget(notice.key)
                beside("memory-removal", self._parts.orphaned_memory.remove, notice.key)
            case Change.WORKSPACE_RESET:
                beside("reset", host.reset, Cancelled("The workspace was reset."))
            case Change.WORKSPACE_CLOSING:
                beside("closing", host.close, "asked")
            case Change.TASKS_CANCELLED:
                reason = failure_of(notice.reason) if notice.reason else Cancelled()
                self._parts.queues.stop_tasks(notice.key, notice.task_ids, reason)
            case _:
                log.warning("notice_malformed", change=notice.change)
