"""Whether a workspace is well: one pure function of what its rows and its host say, for its owner and for admins."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from models import Json
from models.statuses import AgentStatus, WorkspaceState
from workspace.names import WorkspaceKey
from workspace.reports import LIFETIME, WorkspaceReport

UNHOSTED_AFTER: Final = timedelta(seconds=20)
"""How long tasks may wait for a host: a lost one is replaced within this time."""
STUCK_AFTER: Final = timedelta(seconds=600)
"""A task's own running time ends before that, unless something is wrong."""
QUEUE_ALMOST_FULL: Final = 0.8
"""Of the cap of waiting tasks."""


class HealthStatus(StrEnum):
    """How well a workspace is."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"  # it works, and somebody should look
    UNHEALTHY = "unhealthy"  # it does not


class ReasonCode(StrEnum):
    """Why a workspace is not healthy."""

    WORKSPACE_ERROR = "workspace_error"
    HOST_SILENT = "host_silent"
    NO_HOST = "no_host"
    STUCK_TASK = "stuck_task"
    HOST_SUSPENDED = "host_suspended"
    AGENT_ERROR = "agent_error"
    QUEUE_ALMOST_FULL = "queue_almost_full"
    CLOSING = "closing"
    REPORTS_UNAVAILABLE = "reports_unavailable"


DEGRADING: Final = frozenset(
    {ReasonCode.AGENT_ERROR, ReasonCode.QUEUE_ALMOST_FULL, ReasonCode.CLOSING, ReasonCode.REPORTS_UNAVAILABLE}
)
"""Reasons that leave a workspace working; every other one makes it unhealthy."""


class Reason(NamedTuple):
    """One thing that is wrong."""

    code: ReasonCode
    detail: str


class Health(NamedTuple):
    """How well a workspace is, and why it is not better."""

    status: HealthStatus
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True)
class AgentFacts:
    """What the rows say of an agent and its unsettled tasks."""

    agent_id: UUID
    name: str
    status: AgentStatus
    """As stored: never busy."""
    limit: int
    running: int = 0
    queued: int = 0
    held: int = 0
    queued_since: datetime | None = None
    """When the first of its queued tasks was sent."""
    running_since: datetime | None = None
    """When the first of its running tasks started."""

    @property
    def waiting(self) -> int:
        """Tasks that count towards the cap of its queue."""
        return self.queued + self.held


@dataclass(frozen=True, kw_only=True)
class WorkspaceFacts:
    """What the rows say of a workspace."""

    key: WorkspaceKey
    state: WorkspaceState
    node_id: str | None
    epoch: int
    settings: Json
    created_at: datetime
    initialized_at: datetime | None
    alive_until: datetime | None
    agents: tuple[AgentFacts, ...] = ()
    orchestrator: AgentFacts | None = None
    """While it has something to do."""

    @property
    def workers(self) -> tuple[AgentFacts, ...]:
        """All who have tasks."""
        return self.agents if self.orchestrator is None else (*self.agents, self.orchestrator)

    @property
    def is_hosted(self) -> bool:
        """Whether its row names a node."""
        return self.node_id is not None

    @property
    def is_initialized(self) -> bool:
        """Whether its host has it ready."""
        return self.state in {WorkspaceState.INITIALIZED, WorkspaceState.IN_USE}

    @property
    def shown_state(self) -> WorkspaceState:
        """Its state as people see it: in use while something runs."""
        in_use = self.is_hosted and self.is_initialized and self.running > 0
        return WorkspaceState.IN_USE if in_use else self.state

    @property
    def running(self) -> int:
        """Tasks at work."""
        return sum(agent.running for agent in self.workers)

    @property
    def queued(self) -> int:
        """Tasks that may start."""
        return sum(agent.queued for agent in self.workers)

    @property
    def held(self) -> int:
        """Tasks that may not start yet."""
        return sum(agent.held for agent in self.workers)


def judge(
    facts: WorkspaceFacts, report: WorkspaceReport | None, *, reports_known: bool, queue_limit: int, now: datetime
) -> Health:
    """Return how well a workspace is. One that nobody uses is healthy.

    Args:
        report: what its host last said of it, under its present epoch.
        reports_known: whether reports could be read at all; if not, no host is taken for silent.
        queue_limit: the cap of waiting tasks of an agent.
    """
    silent = reports_known and report is None and _should_report(facts, now)
    reasons = (
        *_of_host(facts, report, silent=silent, reports_known=reports_known, now=now),
        *_of_agents(facts.workers, queue_limit, now),
    )
    if all(reason.code in DEGRADING for reason in reasons):
        return Health(HealthStatus.DEGRADED if reasons else HealthStatus.HEALTHY, reasons)
    return Health(HealthStatus.UNHEALTHY, reasons)


def _should_report(facts: WorkspaceFacts, now: datetime) -> bool:
    """Whether its host has had the time to speak of it, and does not say in the row that Redis is away for it."""
    is_new = facts.initialized_at is not None and now - facts.initialized_at <= LIFETIME
    speaks_by_row = facts.alive_until is not None and facts.alive_until > now
    return facts.is_hosted and facts.state is not WorkspaceState.INITIALIZING and not is_new and not speaks_by_row


def _of_host(
    facts: WorkspaceFacts, report: WorkspaceReport | None, *, silent: bool, reports_known: bool, now: datetime
) -> Iterator[Reason]:
    if facts.state is WorkspaceState.ERROR:
        yield Reason(ReasonCode.WORKSPACE_ERROR, "The workspace could not be initialized or closed.")
    if silent:
        yield Reason(ReasonCode.HOST_SILENT, f"Its host has not spoken of it for {_seconds(LIFETIME)}.")
    starting = facts.state is WorkspaceState.INITIALIZING and report is None
    since = min((agent.queued_since for agent in facts.workers if agent.queued_since is not None), default=None)
    if since is not None and now - since > UNHOSTED_AFTER and (silent or starting or not facts.is_hosted):
        yield Reason(ReasonCode.NO_HOST, f"Tasks wait for a host for {_seconds(now - since)}.")
    if report is not None and report.suspended:
        yield Reason(ReasonCode.HOST_SUSPENDED, "Its host has suspended it, because it can not prove that it holds it.")
    if facts.state in {WorkspaceState.SHUTDOWN, WorkspaceState.CLEANING} and facts.queued + facts.held:
        yield Reason(ReasonCode.CLOSING, f"It is closing while {facts.queued + facts.held} tasks wait.")
    if facts.is_hosted and not reports_known:
        yield Reason(ReasonCode.REPORTS_UNAVAILABLE, "What its host says of it can not be read.")


def _of_agents(agents: Iterable[AgentFacts], queue_limit: int, now: datetime) -> Iterator[Reason]:
    for agent in agents:
        if agent.running_since is not None and now - agent.running_since > STUCK_AFTER:
            running = _seconds(now - agent.running_since)
            yield Reason(ReasonCode.STUCK_TASK, f"A task of agent {agent.name} has been running for {running}.")
        if agent.status is AgentStatus.ERROR:
            yield Reason(ReasonCode.AGENT_ERROR, f"Agent {agent.name} is in error.")
        if agent.waiting > QUEUE_ALMOST_FULL * queue_limit:
            full = f"{agent.waiting} of {queue_limit}"
            yield Reason(ReasonCode.QUEUE_ALMOST_FULL, f"Tasks that wait for agent {agent.name}: {full}.")


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.0f} s"
