"""The rows behind hosting: who hosts which workspace, and which agents it has.

A claim is one compare-and-set: a workspace without a host, or whose host fell silent, gets a new one and a new epoch.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, or_, select, tuple_, update
from sqlalchemy.orm import Session

from models import Task, UserAgent, Workspace, utc_now
from models.statuses import AgentStatus, TaskStatus, WorkspaceState
from models.tenancy import Database
from workspace.agent_config import AgentConfig
from workspace.ledger import Host
from workspace.names import WorkspaceKey


class AgentRow(NamedTuple):
    """What a node needs of an agent."""

    key: WorkspaceKey
    agent_id: UUID
    agent_name: str
    limit: int
    status: AgentStatus
    status_reason: str | None


class Hosting:
    """One node's claims."""

    def __init__(self, database: Database, *, node_id: str, ttl: float) -> None:
        self._database = database
        self._node_id = node_id
        self._ttl = timedelta(seconds=ttl)

    def host(self, epoch: int) -> Host:
        """Return this node under an epoch."""
        return Host(self._node_id, epoch)

    def claim(self, key: WorkspaceKey) -> int | None:
        """Claim a workspace; returns the epoch, or `None` while another living node hosts it or it is gone."""
        now = utc_now()
        with self._database.tenant_session(key.user_id) as session:
            epoch = self._renew_own(session, key)
            if epoch is None:
                free = or_(Workspace.node_id.is_(None), Workspace.alive_until < now, Workspace.alive_until.is_(None))
                epoch = session.execute(
                    update(Workspace)
                    .where(Workspace.project_id == key.project_id, free)
                    .values(
                        node_id=self._node_id,
                        epoch=Workspace.epoch + 1,
                        state=WorkspaceState.INITIALIZED,
                        alive_until=now + self._ttl,
                    )
                    .returning(Workspace.epoch)
                    .execution_options(synchronize_session=False)
                ).scalar_one_or_none()
            session.commit()
        return epoch

    def _renew_own(self, session: Session, key: WorkspaceKey) -> int | None:
        return session.execute(
            update(Workspace)
            .where(Workspace.project_id == key.project_id, Workspace.node_id == self._node_id)
            .values(alive_until=utc_now() + self._ttl)
            .returning(Workspace.epoch)
            .execution_options(synchronize_session=False)
        ).scalar_one_or_none()

    def renew(self) -> set[WorkspaceKey]:
        """Say that this node lives; returns the workspaces that are still its own."""
        with self._database.system_session("node renewal") as session:
            rows = session.execute(
                update(Workspace)
                .where(Workspace.node_id == self._node_id)
                .values(alive_until=utc_now() + self._ttl)
                .returning(Workspace.user_id, Workspace.project_id)
                .execution_options(synchronize_session=False)
            ).all()
            session.commit()
        return {WorkspaceKey(*row) for row in rows}

    def release_all(self) -> list[WorkspaceKey]:
        """Give every workspace away; returns those with tasks that wait."""
        with self._database.system_session("node shutdown") as session:
            rows = session.execute(
                update(Workspace)
                .where(Workspace.node_id == self._node_id)
                .values(node_id=None, alive_until=None, state=WorkspaceState.SHUTDOWN)
                .returning(Workspace.user_id, Workspace.project_id)
                .execution_options(synchronize_session=False)
            ).all()
            keys = [WorkspaceKey(*row) for row in rows]
            waiting = set(session.scalars(_projects_with_work(keys))) if keys else set()
            session.commit()
        return [key for key in keys if key.project_id in waiting]

    def running(self) -> set[UUID]:
        """Return the tasks that the rows say this node works on."""
        with self._database.system_session("tasks of this node") as session:
            return set(
                session.scalars(select(Task.id).where(Task.status == TaskStatus.RUNNING, Task.node_id == self._node_id))
            )

    def agents(self, agent_ids: Sequence[UUID]) -> list[AgentRow]:
        """Return the rows of these agents, of whichever tenants."""
        if not agent_ids:
            return []
        with self._database.system_session("attached agents") as session:
            return [
                _agent_row(agent) for agent in session.scalars(select(UserAgent).where(UserAgent.id.in_(agent_ids)))
            ]

    def agents_with_work(self, keys: Iterable[WorkspaceKey]) -> list[AgentRow]:
        """Return the agents of these workspaces that have tasks to start."""
        workspaces = list(keys)
        if not workspaces:
            return []
        queued = select(Task.agent_id).where(Task.status == TaskStatus.QUEUED)
        wanted = select(UserAgent).where(
            tuple_(UserAgent.user_id, UserAgent.project_id).in_(workspaces), UserAgent.id.in_(queued)
        )
        with self._database.system_session("agents with work") as session:
            return [_agent_row(agent) for agent in session.scalars(wanted)]


def _projects_with_work(keys: Sequence[WorkspaceKey]) -> Select[UUID]:
    return (
        select(Task.project_id)
        .distinct()
        .where(Task.project_id.in_([key.project_id for key in keys]), Task.status == TaskStatus.QUEUED)
    )


def _agent_row(agent: UserAgent) -> AgentRow:
    return AgentRow(
        key=WorkspaceKey(agent.user_id, agent.project_id),
        agent_id=agent.id,
        agent_name=agent.name,
        limit=AgentConfig.model_validate(agent.config).concurrency_limit,
        status=agent.status,
        status_reason=agent.status_reason,
    )
