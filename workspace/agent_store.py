"""The agents of a project, as rows: create, read, replace, delete."""

from typing import NamedTuple
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import exists, func, or_, select
from sqlalchemy.exc import IntegrityError

from models import Task, UserAgent
from models.statuses import AgentStatus, TaskStatus
from models.tenancy import Database
from workspace.agent_cache import AgentCache
from workspace.agent_config import AgentConfig
from workspace.agent_work import end_work_of_agent
from workspace.cached_agent import CachedAgent
from workspace.cancellation import Ending
from workspace.errors import AgentNameTaken, InvalidInput, NotFound
from workspace.names import WorkspaceKey
from workspace.paging import Page, PageRequest, fetch_page


class AgentView(NamedTuple):
    """An agent as a person sees it."""

    agent: UserAgent
    status: AgentStatus


class Deletion(NamedTuple):
    """What went with a deleted agent."""

    agent_name: str
    ending: Ending


class AgentStore:
    """Reads and writes agents, within one tenant at a time."""

    def __init__(self, database: Database, cache: AgentCache) -> None:
        self._database = database
        self._cache = cache

    def create(self, key: WorkspaceKey, config: AgentConfig) -> AgentView:
        """Make an agent.

        Raises:
            AgentNameTaken: the project has an agent of this name.
            NotFound: the project was deleted meanwhile.
        """
        agent = UserAgent(
            user_id=key.user_id,
            project_id=key.project_id,
            name=config.name,
            config=config.model_dump(mode="json"),
            version=1,
            status=AgentStatus.READY,
        )
        with self._database.tenant_session(key.user_id) as session:
            session.add(agent)
            try:
                session.commit()
            except IntegrityError as error:
                raise (AgentNameTaken if isinstance(error.orig, UniqueViolation) else NotFound) from error
        return AgentView(agent, AgentStatus.READY)

    def page(self, key: WorkspaceKey, request: PageRequest, *, status: AgentStatus | None = None) -> Page[AgentView]:
        """Return a page of a project's agents, by default in the order they were made."""
        query = select(UserAgent).where(UserAgent.project_id == key.project_id)
        busy = exists().where(Task.agent_id == UserAgent.id, Task.status == TaskStatus.RUNNING)
        if status is AgentStatus.BUSY:
            query = query.where(busy)
        elif status is not None:
            query = query.where(UserAgent.status == status, ~busy)
        with self._database.tenant_session(key.user_id) as session:
            page = fetch_page(session, query, UserAgent, request)
            working = set(
                session.scalars(
                    select(Task.agent_id).where(
                        Task.agent_id.in_([agent.id for agent in page.items]), Task.status == TaskStatus.RUNNING
                    )
                )
            )
        views = [AgentView(agent, _status(agent, busy=agent.id in working)) for agent in page.items]
        return Page(views, page.total, page.next_cursor)

    def get(self, key: WorkspaceKey, agent_id: UUID) -> AgentView:
        """Return one agent.

        Raises:
            NotFound: no such agent in the project.
        """
        busy = exists().where(Task.agent_id == agent_id, Task.status == TaskStatus.RUNNING)
        with self._database.tenant_session(key.user_id) as session:
            row = session.execute(
                select(UserAgent, busy).where(UserAgent.id == agent_id, UserAgent.project_id == key.project_id)
            ).one_or_none()
        if row is None:
            raise NotFound
        return AgentView(row[0], _status(row[0], busy=row[1]))

    def replace(self, key: WorkspaceKey, agent_id: UUID, config: AgentConfig) -> AgentView:
        """Replace an agent's config; a change bumps its version.

        Raises:
            NotFound: no such agent in the project.
            InvalidInput: the config has another name.
        """
        with self._database.tenant_session(key.user_id) as session:
            agent = session.scalars(
                select(UserAgent)
                .where(UserAgent.id == agent_id, UserAgent.project_id == key.project_id)
                .with_for_update(key_share=True)
            ).one_or_none()
            if agent is None:
                raise NotFound
            if config.name != agent.name:
                raise InvalidInput(f"The name of an agent never changes: it is {agent.name}.")
            new = config.model_dump(mode="json")
            if new != agent.config:
                agent.config = new
                agent.version += 1
            session.commit()
        self._cache.invalidate(key, agent_id)
        return self.get(key, agent_id)

    def delete(self, key: WorkspaceKey, agent_id: UUID) -> Deletion:
        """Delete an agent: its tasks are cancelled, and its running ones told to stop.

        Raises:
            NotFound: no such agent in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            # Locked as a message locks it: new ones wait. What a finish refers to is not locked before its task is.
            agent = session.scalars(
                select(UserAgent)
                .where(UserAgent.id == agent_id, UserAgent.project_id == key.project_id)
                .with_for_update(key_share=True)
            ).one_or_none()
            if agent is None:
                raise NotFound
            ending = end_work_of_agent(session, key, agent_id)
            session.delete(agent)
            session.commit()
        self._cache.invalidate(key, agent_id)
        return Deletion(agent.name, ending)

    def config(self, key: WorkspaceKey, agent_id: UUID, at_least: int) -> AgentConfig | None:
        """Return the config for a task that was accepted with version `at_least`, from the cache if it is there."""
        cached = self._cache.get(key, agent_id, at_least=at_least)
        if cached is not None:
            return cached.config
        with self._database.tenant_session(key.user_id) as session:
            row = session.execute(
                select(UserAgent.version, UserAgent.config).where(
                    UserAgent.id == agent_id, UserAgent.project_id == key.project_id
                )
            ).one_or_none()
        if row is None:
            return None
        config = AgentConfig.model_validate(row.config)
        self._cache.put(key, agent_id, CachedAgent(row.version, config))
        return config

    def load(self, key: WorkspaceKey, agent_id: UUID) -> "AgentLoad":
        """Return what an agent has to do now."""
        with self._database.tenant_session(key.user_id) as session:
            rows = session.execute(
                select(Task.status, func.count(Task.id))
                .where(Task.agent_id == agent_id, Task.status.in_(TaskStatus.active()))
                .group_by(Task.status)
            ).all()
        counts = {row[0]: row[1] for row in rows}
        return AgentLoad(
            running=counts.get(TaskStatus.RUNNING, 0),
            queued=counts.get(TaskStatus.QUEUED, 0) + counts.get(TaskStatus.HELD, 0),
        )

    def metrics(self, key: WorkspaceKey, agent_id: UUID) -> "AgentMetrics":
        """Return how an agent did so far.

        Raises:
            NotFound: no such agent in the project.
        """
        self.get(key, agent_id)
        duration = func.extract("epoch", Task.finished_at - Task.started_at)
        with self._database.tenant_session(key.user_id) as session:
            rows = session.execute(
                select(Task.status, func.count(Task.id), func.avg(duration))
                # What a retry took over from an earlier run was never started by it, and counts there.
                .where(
                    Task.agent_id == agent_id, or_(Task.status != TaskStatus.COMPLETED, Task.started_at.is_not(None))
                )
                .group_by(Task.status)
            ).all()
        counts = {status: count for status, count, _ in rows}
        durations = {status: mean for status, _, mean in rows}
        return AgentMetrics(counts, durations.get(TaskStatus.COMPLETED))


class AgentLoad(NamedTuple):
    """Tasks that run, and tasks that wait."""

    running: int
    queued: int


class AgentMetrics(NamedTuple):
    """Tasks by status, and the mean running time of completed ones in seconds."""

    tasks: dict[TaskStatus, int]
    average_duration: float | None

    @property
    def success_rate(self) -> float | None:
        """Completed tasks among those that completed or failed, 0 to 1; `None` before the first."""
        completed = self.tasks.get(TaskStatus.COMPLETED, 0)
        ended = completed + self.tasks.get(TaskStatus.FAILED, 0)
        return completed / ended if ended else None


def _status(agent: UserAgent, *, busy: bool) -> AgentStatus:
    return AgentStatus.BUSY if busy else agent.status
