"""Files of projects that are gone: a project's deletion asks for their removal, and what that missed is found later."""

import structlog
from sqlalchemy import select

from models import Project
from models.tenancy import Database
from workspace.files import WorkspaceFiles
from workspace.names import WorkspaceKey
from workspace.seldom import Seldom

log = structlog.get_logger(__name__)

LOOK_INTERVAL = 600.0
"""Seconds between two looks at all directories: nobody waits for what is left there."""
AT_ONCE = 500
"""Projects that one query asks for."""


class OrphanedFiles:
    """Removes files whose project has no row any more."""

    def __init__(self, database: Database, files: WorkspaceFiles) -> None:
        self._database = database
        self._files = files
        self._looks = Seldom(LOOK_INTERVAL)

    def remove(self, key: WorkspaceKey) -> bool:
        """Remove the files of a project that was deleted; returns whether it was.

        Raises:
            OSError: they could not be removed.
        """
        if key in self._living([key]):
            return False
        self._files.remove(key)
        log.info("files_removed", user_id=str(key.user_id), project_id=str(key.project_id))
        return True

    def look(self) -> int:
        """Look once in a while for files that nobody removed; returns of how many projects."""
        if self._looks.ask() is None:
            return 0
        # A directory is made for a project that has its row, so one that is listed before the rows are asked for and
        # has none then has lost it.
        found = list(self._files.workspaces())
        removed = 0
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            living = self._living(some)
            for key in some:
                if key not in living:
                    self._files.remove(key)
                    removed += 1
        self._files.empty_trash()
        return removed

    def _living(self, keys: list[WorkspaceKey]) -> set[WorkspaceKey]:
        with self._database.system_session("projects of directories") as session:
            rows = session.execute(
                select(Project.user_id, Project.id).where(Project.id.in_([key.project_id for key in keys]))
            ).all()
        return {WorkspaceKey(row[0], row[1]) for row in rows}
