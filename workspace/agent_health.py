"""Whether an agent is well. Only a change is written, so that a busy agent's row is not a bottleneck.

The row is the truth, and what a node remembers is a copy of it, for the agents attached to it. One node at a time hosts
an agent, but over time several do, and a node that lost it may still write the outcome of a last task. The copy is
therefore taken anew when the agent is attached and before each check; in between it may be behind by one check's
interval. A copy that is behind costs a write too many, or leaves `error` standing until that check.
"""

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import update

from models import UserAgent
from models.statuses import AgentStatus
from models.tenancy import Database
from workspace.aside import Aside
from workspace.errors import ModelFailure
from workspace.llm import Probe
from workspace.metrics import AGENT_PROBES, AGENTS_RECOVERED
from workspace.names import WorkspaceKey
from workspace.runner import Failed, Final

log = structlog.get_logger(__name__)

LOCKS = 64
"""Two agents that share one wait for each other's change of status, which is seldom."""


class Attached(NamedTuple):
    """An agent that is attached to this node, and the model it uses."""

    key: WorkspaceKey
    agent_id: UUID
    model: str


class _Illness:
    """One failure. Compared by identity: a failure during a probe is another one than that before it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class AgentHealth:
    """Keeps the stored status of agents: `error` after a failure of their model, `ready` after the next success.

    A success is an answer to a task, or to a look-up of the model when there is no task to try it with.
    """

    def __init__(self, database: Database, *, probe: Callable[[str], Probe], interval: float) -> None:
        """Make it.

        Args:
            database: has the agents' rows.
            probe: looks a model up.
            interval: seconds between two checks.
        """
        self._database = database
        self._probe = probe
        self._aside = Aside("agent-check", interval)
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))
        """Outcomes and look-ups change memory and row of one agent together."""
        self._unwell: dict[UUID, _Illness] = {}

    def learn(self, agent_id: UUID, status: AgentStatus, reason: str | None) -> None:
        """Take over what the row says: when an agent comes to this node, and before each check."""
        self._note(agent_id, reason or "unknown" if status is AgentStatus.ERROR else None)

    def status(self, agent_id: UUID) -> tuple[AgentStatus, str | None]:
        """Return the status of an agent that has no task running, and why."""
        illness = self._unwell.get(agent_id)
        return (AgentStatus.READY, None) if illness is None else (AgentStatus.ERROR, illness.reason)

    def record(self, key: WorkspaceKey, agent_id: UUID, outcome: Final | Failed) -> bool:
        """Take note of an outcome; returns whether the agent's status changed."""
        if isinstance(outcome, Failed) and not isinstance(outcome.failure, ModelFailure):
            return False  # a cancel or a deadline says nothing of the agent
        reason = outcome.failure.detail if isinstance(outcome, Failed) else None
        if reason is None and agent_id not in self._unwell:
            return False  # nearly every task, and nothing to lock for
        with self._lock(agent_id):
            known = self._unwell.get(agent_id)
            if known is not None and reason is not None:
                self._unwell[agent_id] = _Illness(known.reason)  # so that a probe under way knows of it
                return False
            if known is None and reason is None:
                return False
            self._write(key, agent_id, reason)
            self._note(agent_id, reason)
        return True

    def tick(self, attached: Callable[[], Iterable[Attached]]) -> None:
        """Check all agents of this node on a thread of its own, if it is time; to be called often.

        Args:
            attached: returns all of them, after `learn` was told what the row of each says now.
        """
        self._aside.run(lambda: self._check_all(list(attached())))

    def _check_all(self, agents: list[Attached]) -> None:
        here = {agent.agent_id for agent in agents}
        for agent_id in [each for each in self._unwell if each not in here]:  # gone, or another node's
            self._note(agent_id, None)
        self.check(agents)

    def check(self, agents: Iterable[tuple[WorkspaceKey, UUID, str]]) -> list[UUID]:
        """Bring those agents in `error` back whose model answers again; returns them.

        Each model is looked up once, one after the other, so that a server in trouble does not meet a crowd. A look-up
        cannot tell everything: a model whose quota is used up may be found, and fails at the next task again.
        """
        unwell = [
            (Attached(*agent), illness) for agent in agents if (illness := self._unwell.get(agent[1])) is not None
        ]
        answers: dict[str, Probe] = {}
        recovered = []
        for agent, illness in unwell:
            if agent.model not in answers:
                answers[agent.model] = self._probe(agent.model)
                AGENT_PROBES.labels(answers[agent.model]).inc()
            if answers[agent.model] is Probe.ANSWERS and self._recover(agent, illness):
                recovered.append(agent.agent_id)
        return recovered

    def _recover(self, agent: Attached, illness: _Illness) -> bool:
        with self._lock(agent.agent_id):
            if self._unwell.get(agent.agent_id) is not illness:
                return False  # a task told more of it meanwhile than the look-up can
            written = self._write(agent.key, agent.agent_id, None)
            self._note(agent.agent_id, None)
        if written:
            AGENTS_RECOVERED.inc()
            log.info("agent_recovered", agent_id=str(agent.agent_id), model=agent.model, after=illness.reason)
        return written

    def _lock(self, agent_id: UUID) -> threading.Lock:
        return self._locks[agent_id.int % LOCKS]

    def _note(self, agent_id: UUID, reason: str | None) -> None:
        if reason is None:
            self._unwell.pop(agent_id, None)
        else:
            self._unwell[agent_id] = _Illness(reason)

    def _write(self, key: WorkspaceKey, agent_id: UUID, reason: str | None) -> bool:
        """Write a status; returns whether the agent is still there."""
        status = AgentStatus.READY if reason is None else AgentStatus.ERROR
        with self._database.tenant_session(key.user_id) as session:
            found = session.execute(
                update(UserAgent)
                .where(UserAgent.id == agent_id, UserAgent.project_id == key.project_id)
                .values(status=status, status_reason=reason)
                .returning(UserAgent.id)
                .execution_options(synchronize_session=False)
            ).first()
            session.commit()
        return found is not None
