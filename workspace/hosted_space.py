"""The side of a workspace that only its host has: the claim, the consumers of its agents' queues, and their end.

open      claim it, end what a lost host left, attach the agents that have work
suspend   the claim could not be renewed in time: stop all work, keep what is known
resume    it was renewed after all
lose      another node has it
close     nobody needs it now: let work end, give the claim away
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog

from models.statuses import WorkspaceState
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth
from workspace.alerts import Alerts
from workspace.attachable import AgentRow
from workspace.claims import Claim, Claims
from workspace.errors import RunFailure, WorkerLost, WorkerShutdown
from workspace.events import AlertKind
from workspace.memory.agent_memories import AgentMemories
from workspace.metrics import WORKSPACES_CLOSED, WORKSPACES_LOST, WORKSPACES_RECOVERED, WORKSPACES_SUSPENDED
from workspace.names import WorkspaceKey
from workspace.space_settings import read_settings
from workspace.tenure import Tenure

log = structlog.get_logger(__name__)

STOPPING = 5.0
"""Seconds that stopped work gets to write its end before the claim is given away; it hears of a stop within one."""
LETTING_GO = 2.0
"""Seconds that the memory engine gets to let go of a workspace before its claim is given away. It goes on after that,
and whoever hosts the workspace then finds its memory unavailable for so long."""
LOOK = 0.05
"""Seconds between two looks at work that is ending."""


class Attached(Protocol):
    """An agent whose queue is consumed here."""

    key: WorkspaceKey
    agent_id: UUID
    agent_name: str
    limit: int


class Consumers(Protocol):
    """The agents' queues that this node consumes."""

    def attach(self, key: WorkspaceKey, agent_id: UUID, agent_name: str, limit: int) -> None:
        """Begin to consume an agent's queue, or take over a changed limit."""

    def detach(self, agent_id: UUID, reason: RunFailure | None) -> None:
        """Stop consuming an agent's queue; with a reason, stop its running work as well."""

    def attached_to(self, key: WorkspaceKey) -> Sequence[Attached]:
        """Return the agents of a workspace whose queues are consumed."""

    def running_of(self, key: WorkspaceKey) -> int:
        """Return how many tasks of a workspace are at work here, those of detached agents included."""

    def stop_workspace(self, key: WorkspaceKey, reason: RunFailure) -> None:
        """Stop all running work of a workspace, that of detached agents included."""


class Requests(Protocol):
    """What others ask this node as a host."""

    def pause(self, key: WorkspaceKey) -> None:
        """Take no more requests of a workspace until it is hosted here again."""

    def at_work(self, key: WorkspaceKey) -> bool:
        """Whether a request of a workspace is being carried out."""


class HostServices(NamedTuple):
    """What every hosted workspace of a node shares."""

    claims: Claims
    consumers: Consumers
    requests: Requests
    cache: AgentCache
    health: AgentHealth
    bus: AgentBus
    alerts: Alerts
    memories: AgentMemories
    check_memory: Callable[[WorkspaceKey], None]
    """Begins to look whether a workspace's memory answers and whose it is; waits for nothing."""
    recover: Callable[[WorkspaceKey], int]
    """Ends the tasks that a lost host left."""
    fence_after: float
    """Seconds for which a claim is sure after its renewal began."""
    grace: float
    """Seconds that running work gets when a workspace is closed."""


class HostedSpace:
    """One workspace on its node, or on a node that may become its host."""

    def __init__(self, key: WorkspaceKey, services: HostServices) -> None:
        self.key = key
        self.tenure: Tenure | None = None
        self._services = services
        self._changing = threading.RLock()
        """Held while the workspace is opened, closed or reset; work goes on beside it."""

    # -- coming ----------------------------------------------------------------------------------------------

    def open(self, reason: RunFailure | None = None) -> bool:
        """Host the workspace, unless another living node does; returns whether it is hosted here now.

        One that is closing is left alone: who closes it waits for work, and asks for a host when some came meanwhile.

        Args:
            reason: what work under an earlier epoch ends with.

        Raises:
            redis.RedisError: leases are out of reach.
        """
        if self._is_closing:
            return False
        with self._changing:
            began = time.monotonic()
            claim = self._services.claims.claim(self.key)
            if claim is None:
                self.lose()
                return False
            sure_until = began + self._services.fence_after
            if self.tenure is not None and self.tenure.epoch == claim.epoch:
                # A close that failed may have left the row as `cleaning`.
                self._services.claims.move(self.key, claim.epoch, WorkspaceState.INITIALIZED)
                if self.renewed(sure_until):
                    self.attach_needed()
                return True
            self._stop(reason or WorkerLost())
            self.tenure = Tenure(claim.epoch, sure_until=sure_until, settings=read_settings(claim.settings))
            self._initialize(claim)
        return True

    def _initialize(self, claim: Claim) -> None:
        try:
            if claim.lost_host is not None:
                ended = self._services.recover(self.key)
                WORKSPACES_RECOVERED.inc()
                log.warning("workspace_recovered", **self._ids, lost_node=claim.lost_host.node_id, tasks_ended=ended)
            self._services.claims.move(self.key, claim.epoch, WorkspaceState.INITIALIZED)
            # At the end: work that has begun would have to be stopped for a failure of what comes after it.
            self.attach_needed()
        except Exception:
            log.exception("workspace_failed", **self._ids, epoch=claim.epoch)
            self._services.alerts.raise_alert(
                AlertKind.WORKSPACE_ERROR, key=self.key, detail="A workspace could not be initialised."
            )
            self._stop(WorkerLost())
            self.tenure = None
            self._services.memories.release(self.key)
            self._services.claims.release(self.key, claim.epoch, WorkspaceState.ERROR)
            raise
        self._services.check_memory(self.key)
        log.info("workspace_hosted", **self._ids, epoch=claim.epoch)

    def renewed(self, sure_until: float) -> bool:
        """Note that the claim was renewed; returns whether work was stopped for its sake, and may go on."""
        tenure = self.tenure
        if tenure is None:
            return False
        tenure.sure_until = max(tenure.sure_until, sure_until)
        resumed, tenure.suspended = tenure.suspended, False
        if resumed:
            log.info("workspace_resumed", **self._ids)
        return resumed

    # -- agents ----------------------------------------------------------------------------------------------

    def attach_needed(self) -> None:
        """Attach the agents that have work and are not attached."""
        attached = {agent.agent_id for agent in self._services.consumers.attached_to(self.key)}
        for agent in self._services.claims.agents_with_work([self.key]):
            if agent.agent_id not in attached:
                self.attach(agent)

    def attach_by_id(self, agent_id: UUID) -> None:
        """Attach one agent, or take over its row's present limit."""
        for agent in self._services.claims.agents([agent_id]):
            if agent.key == self.key:
                self.attach(agent)

    def attach(self, agent: AgentRow) -> None:
        """Attach one agent, or take over the limit that its row has."""
        tenure = self.tenure
        if tenure is None or tenure.suspended or tenure.closing:
            return
        tenure.touch()
        if not agent.is_orchestrator:
            self._services.health.learn(agent.agent_id, agent.status, agent.status_reason)
        self._services.consumers.attach(agent.key, agent.agent_id, agent.agent_name, agent.limit)

    def detach(self, agent_id: UUID, reason: RunFailure | None) -> None:
        """Let go of an agent's queue; with a reason its running work is stopped as well."""
        self._services.consumers.detach(agent_id, reason)

    # -- going -----------------------------------------------------------------------------------------------

    def suspend(self) -> None:
        """Stop all work until the claim is renewed: another node may host the workspace by then."""
        tenure = self.tenure
        if tenure is None or tenure.suspended:
            return
        tenure.suspended = True
        self._stop(WorkerLost())
        self._services.memories.release(self.key)
        WORKSPACES_SUSPENDED.inc()
        log.warning("workspace_suspended", **self._ids, epoch=tenure.epoch)

    def lose(self, reason: RunFailure | None = None) -> None:
        """Stop all work: another node hosts the workspace, or it is gone."""
        tenure, self.tenure = self.tenure, None
        if tenure is None:
            return
        self._stop(reason or WorkerLost())
        self._services.memories.release(self.key)
        WORKSPACES_LOST.inc()
        log.warning("workspace_lost", **self._ids, epoch=tenure.epoch, reason=(reason or WorkerLost()).code)

    def close(self, reason: str) -> bool:
        """Let running work end, put back what does not, give the claim away; returns whether this call did.

        Accepted work is still done: with tasks on its queues the workspace is placed anew at once.
        """
        if self._is_closing:
            return False
        with self._changing:
            tenure = self.tenure
            if tenure is None:
                return False
            tenure.closing = True
            try:
                released = self._give_away(tenure)
            except Exception:
                tenure.closing = False  # a store is away: it is hosted as before, and can be closed later
                raise
            if not released and self._services.claims.own([self.key]):
                self.open()  # it was reset meanwhile: its row names this node still, under another epoch
        WORKSPACES_CLOSED.labels(reason).inc()
        log.info("workspace_closed", **self._ids, reason=reason, idle_seconds=round(tenure.idle_seconds, 1))
        if released and self._services.claims.has_work(self.key):
            self._services.bus.request_placement(self.key)
        return True

    def _give_away(self, tenure: Tenure) -> bool:
        """Let work end, then give the claim away; returns whether there was still one to give."""
        claims = self._services.claims
        claims.move(self.key, tenure.epoch, WorkspaceState.CLEANING)
        self._stop(None)
        if not self._await_end(self._services.grace):
            self._services.consumers.stop_workspace(self.key, WorkerShutdown())
            self._await_end(STOPPING)
        self._services.cache.clear(self.key)
        self._services.memories.release(self.key, within=LETTING_GO)
        released = claims.release(self.key, tenure.epoch, WorkspaceState.CLEANED)
        self.tenure = None
        return released

    def reset(self, reason: RunFailure) -> None:
        """Stop the work of before at once and begin anew, under the epoch that the row has by now.

        Raises:
            redis.RedisError: leases are out of reach.
        """
        tenure = self.tenure
        if tenure is not None and tenure.closing and not self._is_current(tenure):
            # Nothing begins any more, and who closes it gives what runs its grace, which a reset does not wait for.
            self._stop(reason)
        with self._changing:
            self._services.cache.clear(self.key)
            # What began under the present epoch began after the reset: another thread saw the row before this one.
            self.open(reason)

    @property
    def _is_closing(self) -> bool:
        tenure = self.tenure
        return tenure is not None and tenure.closing

    def _is_current(self, tenure: Tenure) -> bool:
        return self._services.claims.own([self.key]).get(self.key) == tenure.epoch

    def _stop(self, reason: RunFailure | None) -> None:
        self._services.requests.pause(self.key)
        for agent in self._services.consumers.attached_to(self.key):
            self._services.consumers.detach(agent.agent_id, reason)
        if reason is not None:
            self._services.consumers.stop_workspace(self.key, reason)

    def _await_end(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._services.consumers.running_of(self.key) or self._services.requests.at_work(self.key):
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK)
        return True

    @property
    def _ids(self) -> dict[str, str]:
        return {"user_id": str(self.key.user_id), "project_id": str(self.key.project_id)}
