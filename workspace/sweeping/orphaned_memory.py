"""Memory of agents that are gone: a deletion asks for its removal, and what that missed is found later.

One act serves all of them: to compare the collections of a workspace with the rows of its agents. It is done by the
host when it hears of a deletion, which alone can remove what it has open; by any node that gets the message of the
deletion, for a workspace without a host; by a node that begins to host a workspace; and for all workspaces once in a
while.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy import select

from models import User, UserAgent
from models.tenancy import Database
from workspace.errors import MemoryInUse, MemoryUnavailable
from workspace.memory.ownership import NOBODY
from workspace.memory.store import ContextStore
from workspace.names import Collection, WorkspaceKey
from workspace.seldom import Seldom

log = structlog.get_logger(__name__)

LOOK_INTERVAL = 600.0
"""Seconds between two looks at all collections: nobody waits for what is left there."""
AT_ONCE = 200
"""Workspaces that one sweep looks at; the next one goes on."""


class OrphanedMemory:
    """Removes collections whose agent has no row any more."""

    def __init__(self, database: Database, store: ContextStore) -> None:
        self._database = database
        self._store = store
        self._looks = Seldom(LOOK_INTERVAL)
        self._left: list[WorkspaceKey] = []

    def remove(self, *keys: WorkspaceKey) -> int:
        """Remove what deleted agents of these workspaces left; returns how many collections.

        What another process has open is left to that one, and to a later look. What is a user's whom this database
        does not know is left alone: a server, or a directory, may be that of another deployment as well, and all of its
        agents would be missing here. Users are never deleted.

        Raises:
            MemoryUnavailable: the store is out of reach.
        """
        # A collection is made for an agent that has its row, so one that is listed before the rows are asked for and
        # has none then has lost it.
        found = self._store.collections(*keys)
        if not found:
            return 0
        ours = self._ours(found)
        living = self._living({collection.key for collection in ours})
        return sum(self._drop(collection) for collection in ours if not _belongs(collection, living))

    def look(self) -> int:
        """Look once in a while for what nobody removed; returns how many collections."""
        if self._looks.ask() is not None:
            self._left = self._store.workspaces()
        some, self._left = self._left[:AT_ONCE], self._left[AT_ONCE:]
        return self.remove(*some)

    def _drop(self, collection: Collection) -> bool:
        try:
            self._store.drop(collection)
        except MemoryInUse:
            log.info("memory_in_use", collection=collection.name)
            return False
        except MemoryUnavailable as error:
            log.warning("memory_not_removed", collection=collection.name, error=error.detail)
            return False
        log.info("memory_removed", collection=collection.name, agent_id=str(collection.agent_id))
        return True

    def _ours(self, found: Sequence[Collection]) -> list[Collection]:
        """Return the collections of this deployment's users."""
        with self._database.system_session("users of collections") as session:
            query = select(User.id).where(User.id.in_({collection.key.user_id for collection in found}))
            users = set(session.scalars(query))
        ours = [collection for collection in found if collection.key.user_id in users]
        if len(ours) < len(found):
            log.warning("memory_of_strangers", collections=len(found) - len(ours))
        return ours

    def _living(self, keys: set[WorkspaceKey]) -> dict[tuple[WorkspaceKey, str], UUID]:
        with self._database.system_session("agents of collections") as session:
            rows = session.execute(
                select(UserAgent.user_id, UserAgent.project_id, UserAgent.name, UserAgent.id).where(
                    UserAgent.project_id.in_([key.project_id for key in keys])
                )
            ).all()
        return {(WorkspaceKey(row[0], row[1]), row[2]): row[3] for row in rows}


def _belongs(collection: Collection, living: dict[tuple[WorkspaceKey, str], UUID]) -> bool:
    """Whether a collection is that of a living agent; one that does not tell is of whoever has its name."""
    agent_id = living.get((collection.key, collection.agent_name))
    return agent_id is not None and collection.agent_id in (agent_id, NOBODY)
