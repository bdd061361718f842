"""The rows of workspaces as their owners see and set them."""

from sqlalchemy import select, update

from models import Workspace
from models.tenancy import Database
from workspace.errors import NotFound
from workspace.names import WorkspaceKey
from workspace.space_settings import SpaceSettings


class SpaceStore:
    """Reads and writes workspaces, within one tenant at a time. Each project has its row from the start."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: WorkspaceKey) -> Workspace:
        """Return the row.

        Raises:
            NotFound: the project is gone.
        """
        with self._database.tenant_session(key.user_id) as session:
            row = session.scalars(select(Workspace).where(Workspace.project_id == key.project_id)).one_or_none()
        if row is None:
            raise NotFound
        return row

    def configure(self, key: WorkspaceKey, settings: SpaceSettings) -> None:
        """Replace the settings.

        Raises:
            NotFound: the project is gone.
        """
        with self._database.tenant_session(key.user_id) as session:
            changed = session.scalar(
                update(Workspace)
                .where(Workspace.project_id == key.project_id)
                .values(settings=settings.model_dump(mode="json"))
                .returning(Workspace.epoch)
                .execution_options(synchronize_session=False)
            )
            session.commit()
        if changed is None:
            raise NotFound
