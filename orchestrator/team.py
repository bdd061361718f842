"""A project's agents as a planner sees them, and how the project plans: rows, within one tenant at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from models import Project, UserAgent, UserOrchestrator
from models.tenancy import Database
from orchestrator.config import OrchestratorConfig
from orchestrator.planning import TeamMember
from orchestrator.plans.roster import RosterAgent
from workspace.errors import NotFound
from workspace.names import WorkspaceKey


class ConfigView(NamedTuple):
    """How a project plans, as a person sees it."""

    config: OrchestratorConfig
    version: int
    """0: nobody has set anything, these are the defaults."""
    updated_at: datetime | None


_DEFAULTS = ConfigView(OrchestratorConfig(), 0, None)

_MEMBERS = (
    # Not whole configs: a system prompt may be a hundred times as long as the rest.
    select(
        UserAgent.id,
        UserAgent.name,
        UserAgent.version,
        UserAgent.config["model"],
        UserAgent.config["capabilities"],
        UserAgent.config["tools"],
    )
    .where(UserAgent.project_id == bindparam("project"))
    .order_by(UserAgent.name)
)


class TeamStore:
    """Reads the team, reads and writes the configuration; implements `orchestrator.planning.Team`."""

    def __init__(self, database: Database, *, default_model: str) -> None:
        self._database = database
        self._default_model = default_model

    def of(self, key: WorkspaceKey) -> Sequence[TeamMember]:
        """Return the agents of a project, by name."""
        with self._database.tenant_session(key.user_id) as session:
            return self._members(session, key)

    def with_config(self, key: WorkspaceKey) -> tuple[Sequence[TeamMember], OrchestratorConfig, int]:
        """Return the agents of a project, how it plans, and the version of that."""
        with self._database.tenant_session(key.user_id) as session:
            members, row = self._members(session, key), session.scalars(_row(key)).one_or_none()
        view = _DEFAULTS if row is None else _view(row)
        return members, view.config, view.version

    def _members(self, session: Session, key: WorkspaceKey) -> Sequence[TeamMember]:
        return [
            TeamMember(
                agent_id=agent_id,
                version=version,
                model=model or self._default_model,
                roster=RosterAgent(name, tuple(capabilities or ()), tuple(tools or ())),
            )
            for agent_id, name, version, model, capabilities, tools in session.execute(
                _MEMBERS, {"project": key.project_id}
            )
        ]

    def config(self, key: WorkspaceKey) -> tuple[OrchestratorConfig, int]:
        """Return how the project plans, and the version of that; 0 for the defaults."""
        view = self.view(key)
        return view.config, view.version

    def view(self, key: WorkspaceKey) -> ConfigView:
        """Return how the project plans, and since when."""
        with self._database.tenant_session(key.user_id) as session:
            row = session.scalars(_row(key)).one_or_none()
        return _DEFAULTS if row is None else _view(row)

    def replace(self, key: WorkspaceKey, config: OrchestratorConfig) -> ConfigView:
        """Replace how the project plans; a change bumps the version.

        Raises:
            NotFound: the user has no such project.
        """
        new = config.model_dump(mode="json")
        with self._database.tenant_session(key.user_id) as session:
            # Of two who are the first to set it, the second one waits and finds a row to be changed.
            project = select(Project.id).where(Project.id == key.project_id).with_for_update(key_share=True)
            if session.scalars(project).one_or_none() is None:
                raise NotFound
            row = session.scalars(_row(key)).one_or_none()
            if row is None:
                row = UserOrchestrator(user_id=key.user_id, project_id=key.project_id, config=new, version=1)
                session.add(row)
            elif new != row.config:
                row.config = new
                row.version += 1
            session.flush()
            view = _view(row)
            session.commit()
        return view


def _row(key: WorkspaceKey) -> Select[Any]:
    return select(UserOrchestrator).where(UserOrchestrator.project_id == key.project_id)


def _view(row: UserOrchestrator) -> ConfigView:
    return ConfigView(OrchestratorConfig.model_validate(row.config), row.version, row.updated_at)
