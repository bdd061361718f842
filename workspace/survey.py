"""Looking at workspaces, one or thousands: three statements and one round trip to Redis, however many there are."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from models import Task, UserAgent, Workspace, utc_now
from models.statuses import AgentStatus, TaskStatus
from models.tenancy import Database
from workspace.agent_config import AgentConfig
from workspace.attachable import CONSUMER
from workspace.errors import NotFound, Unavailable
from workspace.health import AgentFacts, Health, WorkspaceFacts, judge
from workspace.names import ORCHESTRATOR, ORCHESTRATOR_LIMIT, WorkspaceKey
from workspace.reports import Reports, WorkspaceReport

DEFAULT_AGENT_LIMIT: int = AgentConfig.model_fields["concurrency_limit"].default


Loads = Mapping[UUID | None, dict[str, Any]]
"""What there is to do, by agent; by project for its orchestrator."""


class Surveyed(NamedTuple):
    """A workspace: what its rows say, what its host says, and how well it is."""

    facts: WorkspaceFacts
    report: WorkspaceReport | None
    health: Health


class Surveyor:
    """Looks at workspaces through a session that somebody else opened: it sees what that session may see."""

    def __init__(self, reports: Reports, *, queue_limit: int) -> None:
        self._reports = reports
        self._queue_limit = queue_limit

    def survey(self, session: Session, *wanted: ColumnElement[bool]) -> list[Surveyed]:
        """Return the workspaces of which `wanted` holds, in the order of their slugs."""
        facts = _facts(session, *wanted)
        session.rollback()  # the connection is not kept while Redis is asked
        hosts = {each.node_id for each in facts if each.node_id is not None}
        try:
            reports = self._reports.read(hosts)
        except Unavailable:
            return list(self._judged(facts, None))
        return list(self._judged(facts, reports))

    def _judged(
        self, facts: Iterable[WorkspaceFacts], reports: dict[str, dict[str, WorkspaceReport]] | None
    ) -> Iterator[Surveyed]:
        now = utc_now()
        for each in facts:
            report = (reports or {}).get(each.node_id or "", {}).get(each.key.slug)
            if report is not None and report.epoch != each.epoch:
                report = None  # it speaks of a claim that is over
            health = judge(each, report, reports_known=reports is not None, queue_limit=self._queue_limit, now=now)
            yield Surveyed(each, report, health)


class WorkspaceStore:
    """A user's own workspaces, within one tenant at a time."""

    def __init__(self, database: Database, surveyor: Surveyor) -> None:
        self._database = database
        self._surveyor = surveyor

    def get(self, key: WorkspaceKey) -> Surveyed:
        """Return one workspace.

        Raises:
            NotFound: the user has no such project.
        """
        with self._database.tenant_session(key.user_id) as session:
            found = self._surveyor.survey(session, Workspace.project_id == key.project_id)
        if not found:
            raise NotFound
        return found[0]


def _facts(session: Session, *wanted: ColumnElement[bool]) -> list[WorkspaceFacts]:
    rows = session.scalars(select(Workspace).where(*wanted).order_by(Workspace.user_id, Workspace.project_id)).all()
    if not rows:
        return []
    loads = _loads(session, *wanted)
    agents = _agents(session, loads, *wanted)
    return [
        WorkspaceFacts(
            key=WorkspaceKey(row.user_id, row.project_id),
            state=row.state,
            node_id=row.node_id,
            epoch=row.epoch,
            settings=row.settings,
            created_at=row.created_at,
            initialized_at=row.initialized_at,
            alive_until=row.alive_until,
            agents=tuple(agents.get(row.project_id, ())),
            orchestrator=_orchestrator(row.project_id, loads),
        )
        for row in rows
    ]


def _orchestrator(project_id: UUID, loads: Loads) -> AgentFacts | None:
    load = loads.get(project_id)
    if load is None:
        return None
    return AgentFacts(
        agent_id=project_id, name=ORCHESTRATOR, status=AgentStatus.READY, limit=ORCHESTRATOR_LIMIT, **load
    )


def _agents(session: Session, loads: Loads, *wanted: ColumnElement[bool]) -> dict[UUID, list[AgentFacts]]:
    """Return the agents of each project, with what they have to do, in the order they were made."""
    # The limit alone: a config has prompts in it.
    limit = UserAgent.config["concurrency_limit"].as_integer()
    found: dict[UUID, list[AgentFacts]] = {}
    for project_id, agent_id, name, status, own_limit in session.execute(
        select(UserAgent.project_id, UserAgent.id, UserAgent.name, UserAgent.status, limit)
        .where(UserAgent.project_id.in_(select(Workspace.project_id).where(*wanted)))
        .order_by(UserAgent.id)
    ):
        own = {"agent_id": agent_id, "name": name, "status": status, "limit": own_limit or DEFAULT_AGENT_LIMIT}
        found.setdefault(project_id, []).append(AgentFacts(**own, **loads.get(agent_id, {})))
    return found


def _loads(session: Session, *wanted: ColumnElement[bool]) -> Loads:
    """Return what each agent and each project's orchestrator has to do, as fields of its facts."""
    loads: dict[UUID | None, dict[str, Any]] = {}
    for worker, status, count, sent, started in session.execute(
        select(
            CONSUMER,
            Task.status,
            func.count(Task.id),
            func.min(func.coalesce(Task.sent_at, Task.created_at)),
            func.min(Task.started_at),
        )
        .where(
            Task.status.in_((TaskStatus.QUEUED, TaskStatus.HELD, TaskStatus.RUNNING)),
            Task.project_id.in_(select(Workspace.project_id).where(*wanted)),
        )
        .group_by(CONSUMER, Task.status)
    ):
        load = loads.setdefault(worker, {})
        load[status.value] = count
        if status is TaskStatus.QUEUED:
            load["queued_since"] = sent
        elif status is TaskStatus.RUNNING:
            load["running_since"] = started
    return loads
