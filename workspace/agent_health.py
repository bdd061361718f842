"""Whether an agent is well. Only a change is written, so that a busy agent's row is not a bottleneck."""

import threading
from uuid import UUID

from sqlalchemy import update

from models import UserAgent
from models.statuses import AgentStatus
from models.tenancy import Database
from workspace.errors import ModelFailure
from workspace.names import WorkspaceKey
from workspace.runner import Failed, Final


class AgentHealth:
    """Keeps the stored status of agents: `error` after a failure of their model, `ready` after the next success."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._unwell: dict[UUID, str] = {}
        """Why each agent that is not well is not."""

    def learn(self, agent_id: UUID, status: AgentStatus, reason: str | None) -> None:
        """Take over what the row says, when an agent comes to this node."""
        with self._lock:
            self._note(agent_id, reason or "unknown" if status is AgentStatus.ERROR else None)

    def status(self, agent_id: UUID) -> tuple[AgentStatus, str | None]:
        """Return the status of an agent that has no task running, and why."""
        reason = self._unwell.get(agent_id)
        return (AgentStatus.READY, None) if reason is None else (AgentStatus.ERROR, reason)

    def record(self, key: WorkspaceKey, agent_id: UUID, outcome: Final | Failed) -> bool:
        """Take note of an outcome; returns whether the agent's status changed."""
        if isinstance(outcome, Failed) and not isinstance(outcome.failure, ModelFailure):
            return False  # a cancel or a deadline says nothing of the agent
        reason = outcome.failure.detail if isinstance(outcome, Failed) else None
        if (agent_id in self._unwell) == (reason is not None):
            return False
        self._write(key, agent_id, reason)
        with self._lock:
            self._note(agent_id, reason)
        return True

    def _note(self, agent_id: UUID, reason: str | None) -> None:
        if reason is None:
            self._unwell.pop(agent_id, None)
        else:
            self._unwell[agent_id] = reason

    def _write(self, key: WorkspaceKey, agent_id: UUID, reason: str | None) -> None:
        status = AgentStatus.READY if reason is None else AgentStatus.ERROR
        with self._database.tenant_session(key.user_id) as session:
            session.execute(
                update(UserAgent)
                .where(UserAgent.id == agent_id)
                .values(status=status, status_reason=reason)
                .execution_options(synchronize_session=False)
            )
            session.commit()
