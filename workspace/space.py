"""`UserWorkerSpace`: the live backend side of one (user, project).

Web processes and nodes share it. What is asked of a workspace works in every process; `hosted` says whether this one
owns the consumers of its agents' queues (`workspace.hosted_space`). Where it does not, the host is told.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

from models.statuses import TaskStatus
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_config import AgentConfig
from workspace.agent_store import AgentMetrics, AgentStore, AgentView
from workspace.alerts import Alerts
from workspace.broadcast import Broadcaster, Change
from workspace.broker_queues import BrokerQueues
from workspace.cancellation import Cancellation
from workspace.chat_store import ChatStore
from workspace.endings import Endings
from workspace.errors import AgentDeleted, Cancelled
from workspace.event_publisher import NO_EVENT, EventPublisher
from workspace.events import AlertKind, EventScope
from workspace.health import HealthStatus
from workspace.hosted_space import HostedSpace, HostServices
from workspace.idempotency import Receipts, Repeat, Repeated
from workspace.intake import Accepted, Intake, NewMessage
from workspace.memory.door import Memories, MemoryDoor
from workspace.memory.memories import Filter, Found, Memory
from workspace.metrics import MESSAGES_ACCEPTED
from workspace.names import ORCHESTRATOR, WorkspaceKey
from workspace.paging import Page, PageRequest
from workspace.receipt import Receipt, accepted_events, called_events
from workspace.remembering import Remembering
from workspace.retry_intake import Retries
from workspace.space_settings import SpaceSettings
from workspace.space_store import SpaceStore
from workspace.survey import WorkspaceStore
from workspace.user_cap import UserCap, waits_for_cap

ALMOST_FULL = Fraction(80, 100)
"""Of an agent's queue."""


def almost_full(limit: int) -> int:
    """Return with how many waiting tasks a queue of `limit` is almost full."""
    return math.ceil(ALMOST_FULL * limit)


class SpaceServices(NamedTuple):
    """What every workspace of a process shares."""

    intake: Intake
    bus: AgentBus
    publisher: EventPublisher
    broadcaster: Broadcaster
    agents: AgentStore
    chats: ChatStore
    broker: BrokerQueues
    cache: AgentCache
    cancellation: Cancellation
    endings: Endings
    receipts: Receipts
    retries: Retries
    spaces: SpaceStore
    user_cap: UserCap
    survey: WorkspaceStore
    alerts: Alerts
    memories: Memories
    remembering: Remembering
    queue_limit: int
    remember_host: float
    """Seconds for which a process trusts that a node still consumes the queue of an agent that it had a message for."""
    host: HostServices | None = None
    """Only on a node."""


class _Asked(NamedTuple):
    """A host that was asked to consume an agent's queue."""

    host: tuple[str, int]
    until: float


class UserWorkerSpace:
    """One user's one project."""

    def __init__(self, key: WorkspaceKey, services: SpaceServices) -> None:
        self.key = key
        self._services = services
        self.host = HostedSpace(key, services.host) if services.host else None
        self._asked: dict[UUID, _Asked] = {}

    # -- life ------------------------------------------------------------------------------------------------

    @property
    def hosted(self) -> bool:
        """Whether this process owns the consumers of the workspace's agents."""
        return self.host is not None and self.host.tenure is not None

    def initialize(self) -> bool:
        """Become the host where this process can be one, or ask for a host; returns whether it is hosted here now.

        Raises:
            redis.RedisError: on a node, when leases are out of reach.
        """
        if self.host is not None:
            return self.host.open()
        self._services.bus.request_placement(self.key)
        return False

    def configure(self, settings: SpaceSettings) -> None:
        """Replace the settings; a host that is at work takes them over at its next claim.

        Raises:
            NotFound: the project is gone.
        """
        self._services.spaces.configure(self.key, settings)

    def cleanup(self, reason: str = "asked") -> bool:
        """Close the workspace gracefully: running work ends, the cache is cleared, the claim is given away.

        Data is kept, and accepted messages are still answered: with work on its queues the workspace opens again.

        Returns:
            Whether this process hosted it. A web process tells the host, which does it.
        """
        if self.host is not None:
            return self.host.close(reason)
        self._services.broadcaster.tell(Change.WORKSPACE_CLOSING, self.key)
        return False

    def reset(self) -> int:
        """Stop all work now, forget what is cached, begin anew; returns how many runs were ended.

        Raises:
            NotFound: the project is gone.
        """
        ending = self._services.cancellation.reset(self.key)
        self._services.cache.clear(self.key)
        if self.host is not None and self.hosted:
            self.host.reset(Cancelled(ending.failure.detail))
        else:
            self._services.broadcaster.tell(Change.WORKSPACE_RESET, self.key)
            self._services.bus.request_placement(self.key)
        self._services.endings.carry_out(self.key, ending)
        return len(ending.ended)

    def forget(self, sessions: Iterable[UUID], agent_names: Iterable[str]) -> None:
        """End what is left of a deleted project: work on the host, queues, streams of its sessions, files, memory."""
        self._services.broadcaster.tell(Change.WORKSPACE_DELETED, self.key)
        self._services.cache.clear(self.key)
        for name in (*agent_names, ORCHESTRATOR):
            self._services.broker.delete(self.key.agent_queue(name))
        self._services.broker.delete(self.key.requests_queue)
        for session_id in sessions:
            self._services.publisher.close_session(EventScope(key=self.key, session_id=session_id))
        for task in self._services.user_cap.release(self.key.user_id):
            self.send_task_to_agent(task.agent_name, task.id, key=task.key)
        # After its work was told to stop, so that nothing is written any more when they go.
        self._services.bus.request_removal(self.key)
        self._services.bus.request_memory_removal(self.key)

    # -- messages --------------------------------------------------------------------------------------------

    def handle_message(self, message: NewMessage) -> Receipt:
        """Accept a message; from here on it is not lost.

        Raises:
            NotFound: no such session or agent in the project.
            InvalidInput: it names no agent, and the project has none.
            AgentQueueFull: the agent's queue, or the orchestrator's, is full.
            SessionBusy: the session is at work and the message asked to be refused then.
            IdempotencyConflict: its key came with another message before.
        """
        if message.agent_name is None:
            return self.orchestrated_execution(message)
        return self.direct_execution(message)

    def direct_execution(self, message: NewMessage) -> Receipt:
        """Give a message to the agent that it names.

        Raises:
            As `handle_message`.
        """
        return self._take_in(message)

    def orchestrated_execution(self, message: NewMessage) -> Receipt:
        """Give a message to the orchestrator, which makes a plan of it, whichever agent it names.

        Raises:
            As `handle_message`.
        """
        return self._take_in(replace(message, agent_name=None))

    def _take_in(self, message: NewMessage) -> Receipt:
        accepted = self._services.intake.accept(self.key, message)
        if isinstance(accepted, Repeated):
            return Receipt.again(accepted)
        MESSAGES_ACCEPTED.labels(accepted.mode).inc()
        self._services.endings.carry_out(self.key, accepted.interrupted)
        cursor = self._tell_accepted(accepted, message.content)
        self._warn_if_almost_full(accepted)
        if message.repeat:
            self._services.receipts.write(self.key, accepted.run_id, accepted.receipt | {"cursor": cursor})
        self._set_off(accepted)
        return Receipt.of(accepted, cursor)

    def retry_run(self, run_id: UUID, repeat: Repeat | None = None) -> Receipt:
        """Do again what a run has no result of, as a new run that answers the same message.

        Raises:
            NotFound: no such run in the project.
            RunNotRetryable: it is at work, or has its answer, or cannot be done again.
            AgentQueueFull: as many tasks wait as may.
            IdempotencyConflict: the key came with another request before.
        """
        accepted = self._services.retries.accept(self.key, run_id, repeat)
        if isinstance(accepted, Repeated):
            return Receipt.again(accepted)
        cursor = self._tell_retried(accepted)
        if repeat:
            self._services.receipts.write(self.key, accepted.run_id, accepted.receipt | {"cursor": cursor})
        self._set_off(accepted)
        return Receipt.of(accepted, cursor)

    def cancel_run(self, run_id: UUID) -> None:
        """End a run; what a node works on stops within the second and keeps what was written.

        Raises:
            NotFound: no such run in the project.
        """
        ending = self._services.cancellation.cancel_run(self.key, run_id)
        self._services.endings.carry_out(self.key, ending)

    def close_session(self, session_id: UUID) -> None:
        """Delete a session with everything in it, and end its streams.

        Raises:
            NotFound: no such session in the project.
        """
        tasks = self._services.chats.delete(self.key, session_id)
        if tasks:
            self._services.broadcaster.tell(Change.TASKS_CANCELLED, self.key, task_ids=tasks)
            self._let_go()
        self._services.publisher.close_session(EventScope(key=self.key, session_id=session_id))

    def send_task_to_agent(self, agent_name: str, task_id: UUID, *, key: WorkspaceKey | None = None) -> bool:
        """Put a task that is `queued` on its agent's queue; returns whether the broker took it."""
        return self._services.bus.send_task_to_agent(key or self.key, agent_name, task_id)

    def _tell_accepted(self, accepted: Accepted, content: str) -> str:
        scope = EventScope(
            key=self.key, session_id=accepted.session_id, run_id=accepted.run_id, task_id=accepted.task_id
        )
        events = accepted_events(accepted, content)
        if accepted.waits_for_cap:
            events.append(waits_for_cap(accepted.agent_id, accepted.target.agent_name, self._services.user_cap.cap))
        published = self._services.publisher.publish(scope, *events)
        return published.cursor_before if published else NO_EVENT

    def _tell_retried(self, accepted: Accepted) -> str:
        """Tell who answers once more a message that was told of before; of a plan, the orchestrator tells itself."""
        scope = EventScope(
            key=self.key, session_id=accepted.session_id, run_id=accepted.run_id, task_id=accepted.task_id
        )
        events = called_events(accepted)
        published = self._services.publisher.publish(scope, *events)
        return published.cursor_before if published else NO_EVENT

    def _warn_if_almost_full(self, accepted: Accepted) -> None:
        """Raise an alert when this message made its agent's queue almost full, not for those behind it."""
        limit = self._services.queue_limit
        waiting = accepted.queue_position + 1
        if waiting != almost_full(limit):
            return
        target = accepted.target
        self._services.alerts.raise_alert(
            AlertKind.QUEUE_ALMOST_FULL,
            key=self.key,
            session_id=accepted.session_id,
            run_id=accepted.run_id,
            detail=f"{waiting} of at most {limit} tasks wait for the agent.",
            agent_id=accepted.agent_id,
            agent_name=target.agent_name,
            waiting=waiting,
            limit=limit,
        )

    def _set_off(self, accepted: Accepted) -> None:
        if accepted.status is TaskStatus.QUEUED:
            self._send(accepted)
        else:
            # It may be the first of its agent; whoever lets it go does not ask for a consumer of its queue.
            self._ensure_attached(accepted)
        if accepted.waits_for_cap:
            # The work that it waits for may have ended at this very moment.
            self._let_go()

    def _send(self, accepted: Accepted) -> None:
        """Publish the task; what the broker did not take, the sweeper sends and finds a host for."""
        if self.send_task_to_agent(accepted.target.agent_name, accepted.task_id):
            self._ensure_attached(accepted)

    def _ensure_attached(self, accepted: Accepted) -> None:
        """See that a node consumes the agent's queue: ask for a host, or tell the host of a first use."""
        host = accepted.target.host
        agent_id = accepted.target.agent_id
        now = time.monotonic()
        asked = self._asked.get(agent_id)
        is_known = asked is not None and asked.host == host and asked.until > now
        if host is None:
            self._services.bus.request_placement(self.key)
        elif is_known or self.register_agent(agent_id):
            # Each message makes the agent's idle time begin anew, here as on its host.
            self._asked[agent_id] = _Asked(host, now + self._services.remember_host)

    def _let_go(self) -> None:
        for task in self._services.user_cap.release(self.key.user_id):
            self.send_task_to_agent(task.agent_name, task.id, key=task.key)

    # -- agents ----------------------------------------------------------------------------------------------

    def get_agent(self, agent_id: UUID) -> AgentView:
        """Return one agent.

        Raises:
            NotFound: no such agent in the project.
        """
        return self._services.agents.get(self.key, agent_id)

    def list_agents_for_project(self, request: PageRequest) -> Page[AgentView]:
        """Return a page of the project's agents."""
        return self._services.agents.page(self.key, request)

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
        """Delete an agent with what it remembers, and end its work.

        Raises:
            NotFound: no such agent in the project.
        """
        deletion = self._services.agents.delete(self.key, agent_id)
        self.deregister_agent(agent_id)
        self._services.broker.delete(self.key.agent_queue(deletion.agent_name))
        self._services.endings.carry_out(self.key, deletion.ending)
        self._services.bus.request_memory_removal(self.key)

    def register_agent(self, agent_id: UUID) -> bool:
        """See that the host consumes the agent's queue under its limit; returns whether that was done or told."""
        if self.host is not None and self.hosted:
            self.host.attach_by_id(agent_id)
            return True
        return self._services.broadcaster.tell(Change.AGENT_NEEDED, self.key, agent_id)

    def deregister_agent(self, agent_id: UUID) -> None:
        """Let go of the agent's queue and end its running work."""
        self._asked.pop(agent_id, None)
        if self.host is not None and self.hosted:
            self.host.detach(agent_id, AgentDeleted())
        else:
            self._services.broadcaster.tell(Change.AGENT_DELETED, self.key, agent_id)

    def reload_agent(self, agent_id: UUID) -> AgentConfig | None:
        """Read an agent's config anew; `None` if the agent is gone."""
        self.invalidate_agent(agent_id)
        return self._services.agents.config(self.key, agent_id, 1)

    def invalidate_agent(self, agent_id: UUID) -> None:
        """Forget an agent's cached config, on every node."""
        self._services.cache.invalidate(self.key, agent_id)
        self._services.broadcaster.tell(Change.AGENT_CHANGED, self.key, agent_id)

    def clear_agent_cache(self) -> None:
        """Forget all cached configs of the project in this process and in Redis."""
        self._services.cache.clear(self.key)

    def get_agent_status(self, agent_id: UUID) -> AgentView:
        """Return an agent with its present status.

        Raises:
            NotFound: no such agent in the project.
        """
        return self._services.agents.get(self.key, agent_id)

    def get_agent_metrics(self, agent_id: UUID) -> AgentMetrics:
        """Return how an agent did so far.

        Raises:
            NotFound: no such agent in the project.
        """
        return self._services.agents.metrics(self.key, agent_id)

    # -- memory ----------------------------------------------------------------------------------------------

    def get_agent_context_store(self, agent_id: UUID) -> MemoryDoor:
        """Return an agent's memory. Its methods raise `MemoryUnavailable` when it is out of reach.

        Raises:
            NotFound: no such agent in the project.
        """
        return self._services.memories.of(self.key, self.get_agent(agent_id).agent.name, agent_id)

    def search_context(self, agent_id: UUID, query: str, *, limit: int | None = None) -> list[Found]:
        """Return what of an agent's memory is most like `query`, the most like it first.

        Raises:
            NotFound: no such agent in the project.
            MemoryUnavailable: its memory is out of reach.
            InvalidInput: there is nothing to look for, or the limit is out of bounds.
        """
        return self.get_agent_context_store(agent_id).search(query, limit=limit)

    def add_context(self, agent_id: UUID, memories: Sequence[Memory]) -> None:
        """Let an agent remember something.

        Raises:
            NotFound: no such agent in the project.
            MemoryUnavailable: its memory is out of reach.
            InvalidInput: a text is empty.
        """
        self.get_agent_context_store(agent_id).remember(memories)

    def clear_context(self, agent_id: UUID, *, run_id: UUID | None = None, session_id: UUID | None = None) -> int:
        """Forget everything that an agent remembers, or what comes from one run or one session.

        Runs that ended and are not remembered yet will not be.

        Returns:
            How many memories these were.

        Raises:
            NotFound: no such agent in the project.
            MemoryUnavailable: its memory is out of reach.
        """
        memory = self.get_agent_context_store(agent_id)
        # First, or else what is stored meanwhile would come back.
        self._services.remembering.forget(self.key, agent_id=agent_id, run_id=run_id, session_id=session_id)
        if run_id is None and session_id is None:
            return memory.clear()
        return memory.forget_where(Filter(run_id=run_id, session_id=session_id))

    # -- seeing it -------------------------------------------------------------------------------------------

    def is_healthy(self) -> bool:
        """Return whether the workspace works, as its rows and its host say; a degraded one does.

        Raises:
            NotFound: the project is gone.
        """
        return self._services.survey.get(self.key).health.status is not HealthStatus.UNHEALTHY

    def get_agent_stats(self) -> dict[str, dict[str, Any]]:
        """Return `{name: {agent_id, status, limit, running, queued, held}}` of the project's agents.

        Raises:
            NotFound: the project is gone.
        """
        return {
            agent.name: {
                "agent_id": str(agent.agent_id),
                "status": agent.status.value,
                "limit": agent.limit,
                "running": agent.running,
                "queued": agent.queued,
                "held": agent.held,
            }
            for agent in self._services.survey.get(self.key).facts.agents
        }

    def get_metrics(self) -> dict[str, Any]:
        """Return what this process knows of the workspace; times are in seconds."""
        tenure = self.host.tenure if self.host else None
        return {
            "user_id": str(self.key.user_id),
            "project_id": str(self.key.project_id),
            "hosted": tenure is not None,
            "epoch": tenure.epoch if tenure else None,
            "suspended": tenure.suspended if tenure else False,
            "uptime": round(tenure.hosted_seconds, 1) if tenure else None,
            "idle_seconds": round(tenure.idle_seconds, 1) if tenure else None,
            "cache_size": self._services.cache.size(self.key),
        }
