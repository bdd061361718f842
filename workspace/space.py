"""`UserWorkerSpace`: the live backend side of one (user, project), and what the web asks of it."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from models.statuses import MessageRole, RunMode, TaskStatus
from workspace.agent_bus import AgentBus
from workspace.agent_config import AgentConfig
from workspace.agent_store import AgentStore, AgentView, Deletion
from workspace.broadcast import Broadcaster, Change
from workspace.broker_queues import BrokerQueues
from workspace.chat_store import ChatStore
from workspace.errors import AgentDeleted
from workspace.event_publisher import NO_EVENT, EventPublisher
from workspace.events import DirectAgentCall, EventScope, Failure, MessageCreated, RunCancelled
from workspace.intake import Accepted, Intake
from workspace.metrics import MESSAGES_ACCEPTED
from workspace.names import WorkspaceKey


class Receipt(NamedTuple):
    """What the sender of a message is told."""

    accepted: Accepted
    cursor: str
    """The last event before this message; a reader that starts there misses nothing of it."""


class SpaceServices(NamedTuple):
    """What every workspace of a process shares."""

    intake: Intake
    bus: AgentBus
    publisher: EventPublisher
    broadcaster: Broadcaster
    agents: AgentStore
    chats: ChatStore
    broker: BrokerQueues


class UserWorkerSpace:
    """One user's one project."""

    def __init__(self, key: WorkspaceKey, services: SpaceServices) -> None:
        self.key = key
        self._services = services
        self._known_hosts: dict[UUID, tuple[str, int]] = {}
        """Under which host (node, epoch) each agent was asked for by this process."""

    def handle_message(self, session_id: UUID, content: str, target_agent: str) -> Receipt:
        """Accept a message; from here on it is not lost.

        Raises:
            NotFound: no such session or agent in the project.
            AgentQueueFull: the agent's queue is full.
        """
        accepted = self._services.intake.accept(self.key, session_id, content, target_agent)
        MESSAGES_ACCEPTED.labels(RunMode.DIRECT).inc()
        cursor = self._tell_accepted(accepted, content)
        if accepted.status is TaskStatus.QUEUED:
            self._send(accepted)
        return Receipt(accepted, cursor)

    def _tell_accepted(self, accepted: Accepted, content: str) -> str:
        scope = EventScope(
            key=self.key, session_id=accepted.session_id, run_id=accepted.run_id, task_id=accepted.task_id
        )
        target = accepted.target
        published = self._services.publisher.publish(
            scope,
            MessageCreated(message_id=accepted.message_id, role=MessageRole.USER, content=content),
            DirectAgentCall(
                agent_id=target.agent_id, agent_name=target.agent_name, queue_position=accepted.queue_position
            ),
        )
        return published.cursor_before if published else NO_EVENT

    def _send(self, accepted: Accepted) -> None:
        """Publish the task; what the broker did not take, the sweeper sends and finds a host for."""
        if self._services.bus.send_task_to_agent(self.key, accepted.target.agent_name, accepted.task_id):
            self._ensure_attached(accepted)

    def _ensure_attached(self, accepted: Accepted) -> None:
        """See that a node consumes the agent's queue: ask for a host, or tell the host of a first use."""
        host = accepted.target.host
        agent_id = accepted.target.agent_id
        if host is None:
            self._services.bus.request_placement(self.key)
        elif self._known_hosts.get(agent_id) != host and self._services.broadcaster.tell(
            Change.AGENT_NEEDED, self.key, agent_id
        ):
            self._known_hosts[agent_id] = host

    def add_agent(self, config: AgentConfig) -> AgentView:
        """Make an agent. Its queue is attached at its first message.

        Raises:
            AgentNameTaken: the project has one of this name.
        """
        return self._services.agents.create(self.key, config)

    def replace_agent(self, agent_id: UUID, config: AgentConfig) -> AgentView:
        """Replace an agent's config; a new limit takes effect at once, the rest with its next task.

        Raises:
            NotFound: no such agent in the project.
            InvalidInput: the config has another name.
        """
        view = self._services.agents.replace(self.key, agent_id, config)
        self._services.broadcaster.tell(Change.AGENT_CHANGED, self.key, agent_id)
        return view

    def remove_agent(self, agent_id: UUID) -> None:
        """Delete an agent and end its work.

        Raises:
            NotFound: no such agent in the project.
        """
        deletion = self._services.agents.delete(self.key, agent_id)
        self._known_hosts.pop(agent_id, None)
        self._services.broadcaster.tell(Change.AGENT_DELETED, self.key, agent_id)
        self._services.broker.delete(self.key.agent_queue(deletion.agent_name))
        self._tell_cancelled(deletion)
        for task in deletion.released:
            self._services.bus.send_task_to_agent(task.key, task.agent_name, task.id)

    def _tell_cancelled(self, deletion: Deletion) -> None:
        reason = AgentDeleted()
        error = Failure(error_code=reason.code, detail=reason.detail)
        for run in deletion.ended:
            scope = EventScope(key=self.key, session_id=run.session_id, run_id=run.run_id)
            if self._services.publisher.publish(scope, RunCancelled(mode=RunMode.DIRECT, error=error)):
                self._services.agents.announced(self.key, run.run_id)

    def close_session(self, session_id: UUID) -> None:
        """Delete a session with everything in it, and end its streams.

        Raises:
            NotFound: no such session in the project.
        """
        tasks = self._services.chats.delete(self.key, session_id)
        if tasks:
            self._services.broadcaster.tell(Change.TASKS_CANCELLED, self.key, task_ids=tasks)
        self._services.publisher.close_session(EventScope(key=self.key, session_id=session_id))

    def forget(self, sessions: Iterable[UUID], agent_names: Iterable[str]) -> None:
        """End what is left of a deleted project: its work on the host, its queues, the streams of its sessions."""
        self._services.broadcaster.tell(Change.WORKSPACE_DELETED, self.key)
        for name in agent_names:
            self._services.broker.delete(self.key.agent_queue(name))
        for session_id in sessions:
            self._services.publisher.close_session(EventScope(key=self.key, session_id=session_id))
