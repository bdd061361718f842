"""What admins see: the workspaces of all users, through the one door past the tenant criterion."""

from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import aliased

from models import Task, Workspace
from models.statuses import TaskStatus, WorkspaceState
from models.tenancy import Database
from workspace.survey import Surveyed, Surveyor


class Oversight:
    """Reads the workspaces of a deployment; `api.admin` alone may ask it."""

    def __init__(self, database: Database, surveyor: Surveyor) -> None:
        self._database = database
        self._surveyor = surveyor

    def hosted(self, user_id: UUID | None = None) -> list[Surveyed]:
        """Return the workspaces whose row names a node, of one user or of all."""
        return self._survey(user_id, with_others=False)

    def concerning(self, user_id: UUID | None = None) -> list[Surveyed]:
        """Return those that are hosted, and of the others those that should be, or could not be."""
        return self._survey(user_id, with_others=True)

    def _survey(self, user_id: UUID | None, *, with_others: bool) -> list[Surveyed]:
        wanted: ColumnElement[bool] = Workspace.node_id.is_not(None)
        if with_others:
            task = aliased(Task)  # the statement that this becomes a part of may read tasks, too
            waiting = select(task.project_id).where(task.status == TaskStatus.QUEUED)
            wanted = or_(wanted, Workspace.state == WorkspaceState.ERROR, Workspace.project_id.in_(waiting))
        of_user = () if user_id is None else (Workspace.user_id == user_id,)
        with self._database.system_session("admin view") as session:
            return self._surveyor.survey(session, wanted, *of_user)
