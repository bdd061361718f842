"""Whose queues the host of a workspace may consume: its agents', and the orchestrator's.

The orchestrator has no row. Its queue is attached under its project's id, which is no agent's, and it is there as long
as its project is.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, or_, select, tuple_
from sqlalchemy.orm import Session

from models import Project, Task, UserAgent
from models.statuses import AgentStatus, TaskStatus
from workspace.agent_config import AgentConfig
from workspace.names import ORCHESTRATOR, ORCHESTRATOR_LIMIT, WorkspaceKey


class AgentRow(NamedTuple):
    """What a node needs of an agent."""

    key: WorkspaceKey
    agent_id: UUID
    agent_name: str
    limit: int
    model: str | None
    status: AgentStatus
    status_reason: str | None

    @property
    def is_orchestrator(self) -> bool:
        """Whether it is no agent: nobody asks how well it is."""
        return self.agent_name == ORCHESTRATOR


CONSUMER: ColumnElement[UUID] = case((Task.agent_name == ORCHESTRATOR, Task.project_id), else_=Task.agent_id)
"""Under which id a host knows the queue of a task; null: its agent is gone."""


def consumer_of(agent_id: UUID | None, agent_name: str, project_id: UUID) -> UUID | None:
    """Return that for a row."""
    return project_id if agent_name == ORCHESTRATOR else agent_id


def is_of_same_queue(one: type[Task], other: type[Task]) -> ColumnElement[bool]:
    """Return whether two tasks are of one queue."""
    both = and_(one.agent_name == ORCHESTRATOR, other.agent_name == ORCHESTRATOR)
    return or_(one.agent_id == other.agent_id, and_(both, one.project_id == other.project_id))


def by_ids(session: Session, ids: Sequence[UUID]) -> list[AgentRow]:
    """Return those of the given ids that are still there, of whichever tenants."""
    agents = [_of_agent(agent) for agent in session.scalars(select(UserAgent).where(UserAgent.id.in_(ids)))]
    rest = set(ids) - {agent.agent_id for agent in agents}
    if not rest:
        return agents
    projects = session.execute(select(Project.user_id, Project.id).where(Project.id.in_(rest)))
    return agents + [_orchestrator(WorkspaceKey(*row)) for row in projects]


def with_work(session: Session, keys: Sequence[WorkspaceKey]) -> list[AgentRow]:
    """Return those of these workspaces that have tasks to start."""
    of_agents = select(Task.agent_id).where(Task.status == TaskStatus.QUEUED)
    agents = select(UserAgent).where(
        tuple_(UserAgent.user_id, UserAgent.project_id).in_(keys), UserAgent.id.in_(of_agents)
    )
    projects = (
        select(Task.user_id, Task.project_id)
        .distinct()
        .where(
            Task.status == TaskStatus.QUEUED,
            Task.agent_name == ORCHESTRATOR,
            tuple_(Task.user_id, Task.project_id).in_(keys),
        )
    )
    return [
        *(_of_agent(agent) for agent in session.scalars(agents)),
        *(_orchestrator(WorkspaceKey(*row)) for row in session.execute(projects)),
    ]


def unwell(session: Session, keys: Sequence[WorkspaceKey]) -> list[AgentRow]:
    """Return the agents of these workspaces that are in error, whether they are attached or not."""
    wanted = select(UserAgent).where(
        tuple_(UserAgent.user_id, UserAgent.project_id).in_(keys), UserAgent.status == AgentStatus.ERROR
    )
    return [_of_agent(agent) for agent in session.scalars(wanted)]


def _of_agent(agent: UserAgent) -> AgentRow:
    config = AgentConfig.model_validate(agent.config)
    return AgentRow(
        key=WorkspaceKey(agent.user_id, agent.project_id),
        agent_id=agent.id,
        agent_name=agent.name,
        limit=config.concurrency_limit,
        model=config.model,
        status=agent.status,
        status_reason=agent.status_reason,
    )


def _orchestrator(key: WorkspaceKey) -> AgentRow:
    return AgentRow(key, key.project_id, ORCHESTRATOR, ORCHESTRATOR_LIMIT, None, AgentStatus.READY, None)
