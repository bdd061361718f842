"""Users and their projects, as rows."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert

from models import ChatSession, Project, Task, User, UserAgent, Workspace, new_id
from models.statuses import ToolExecution
from models.tenancy import Database
from workspace.cancellation import lock_tasks
from workspace.errors import DefaultProjectKept, NotFound
from workspace.names import WorkspaceKey
from workspace.paging import Page, PageRequest, fetch_page

DEFAULT_PROJECT_NAME = "default"
REMEMBERED = 50_000
"""Users whose ids a process remembers: neither a user's id nor its default project ever changes."""


@dataclass(frozen=True)
class Account:
    """Who a token's subject is here."""

    user_id: UUID
    default_project_id: UUID


class Accounts:
    """Finds the user of a token, and makes one at the first request."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, Account] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, subject: str, email: str | None) -> Account:
        """Return the account of a subject; parallel first requests make one."""
        account = self._known.get(subject)
        if account is None:
            account = self._find_or_make(subject, email)
            with self._lock:
                self._known[subject] = account
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return account

    def _find_or_make(self, subject: str, email: str | None) -> Account:
        user_id = self._user(subject, email)
        with self._database.tenant_session(user_id) as session:
            project_id = session.scalar(select(Project.id).where(Project.is_default))
            if project_id is None:
                # The lock on the user row makes the second of two first requests wait and find the project.
                session.execute(select(User.id).where(User.id == user_id).with_for_update())
                project_id = session.scalar(select(Project.id).where(Project.is_default))
            if project_id is None:
                project = Project(id=new_id(), user_id=user_id, name=DEFAULT_PROJECT_NAME, is_default=True)
                session.add(project)
                session.flush()
                session.add(Workspace(user_id=user_id, project_id=project.id))
                project_id = project.id
            session.commit()
        return Account(user_id, project_id)

    def _user(self, subject: str, email: str | None) -> UUID:
        with self._database.user_directory() as session:
            known = session.scalar(select(User.id).where(User.subject == subject))
            if known is not None:
                return known
            session.execute(insert(User).values(id=new_id(), subject=subject, email=email).on_conflict_do_nothing())
            session.commit()
            return session.scalars(select(User.id).where(User.subject == subject)).one()


class ProjectContent(NamedTuple):
    """What a person sets of a project."""

    name: str
    description: str
    tool_execution: ToolExecution
    """Where its tools are carried out; a change counts from the next turn of a model on."""


class ProjectStore:
    """Reads and writes projects, within one tenant at a time. Each project has its workspace's row from the start."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, user_id: UUID, content: ProjectContent) -> Project:
        """Make a project."""
        project = Project(id=new_id(), user_id=user_id, **content._asdict())
        with self._database.tenant_session(user_id) as session:
            session.add(project)
            session.flush()
            session.add(Workspace(user_id=user_id, project_id=project.id))
            session.commit()
        return project

    def page(self, user_id: UUID, request: PageRequest) -> Page[Project]:
        """Return a page of the user's projects."""
        with self._database.tenant_session(user_id) as session:
            return fetch_page(session, select(Project), Project, request)

    def get(self, key: WorkspaceKey) -> Project:
        """Return one project.

        Raises:
            NotFound: the user has no such project.
        """
        with self._database.tenant_session(key.user_id) as session:
            project = session.scalars(select(Project).where(Project.id == key.project_id)).one_or_none()
        if project is None:
            raise NotFound
        return project

    def update(self, key: WorkspaceKey, content: ProjectContent) -> Project:
        """Replace what a person sets of a project.

        Raises:
            NotFound: the user has no such project.
        """
        with self._database.tenant_session(key.user_id) as session:
            project = session.scalars(
                select(Project).where(Project.id == key.project_id).with_for_update(key_share=True)
            ).one_or_none()
            if project is None:
                raise NotFound
            for name, value in content._asdict().items():
                setattr(project, name, value)
            session.commit()
        return project

    def delete(self, key: WorkspaceKey) -> "DeletedProject":
        """Delete a project and every row of it; returns what it had.

        Raises:
            NotFound: the user has no such project.
            DefaultProjectKept: it is the default project.
        """
        with self._database.tenant_session(key.user_id) as session:
            project = session.scalars(
                select(Project).where(Project.id == key.project_id).with_for_update()
            ).one_or_none()
            if project is None:
                raise NotFound
            if project.is_default:
                raise DefaultProjectKept
            # Locked in the order of a message, and tasks before all that is deleted with them: whoever starts or ends
            # one of them right now has its way first.
            sessions = list(session.scalars(_locked(ChatSession, key).with_only_columns(ChatSession.id)))
            names = list(session.scalars(_locked(UserAgent, key).with_only_columns(UserAgent.name)))
            lock_tasks(session, Task.project_id == key.project_id)
            session.delete(project)
            session.commit()
        return DeletedProject(sessions, names)


def _locked(kind: type[ChatSession] | type[UserAgent], key: WorkspaceKey) -> Select[Any]:
    return select(kind).where(kind.project_id == key.project_id).order_by(kind.id).with_for_update(key_share=True)


class DeletedProject(NamedTuple):
    """What a project had that lives outside of its rows."""

    sessions: list[UUID]
    agent_names: list[str]
