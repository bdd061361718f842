"""Ended tasks that no node remembers: their workspaces have no host, or it could not be done for too long."""

from datetime import timedelta

import structlog
from sqlalchemy import and_, select, update

from models import Task, Workspace, utc_now
from models.tenancy import Database
from workspace.agent_bus import AgentBus
from workspace.metrics import INTERACTIONS_REMEMBERED
from workspace.names import WorkspaceKey
from workspace.remembering import DUE, GIVE_UP_AFTER
from workspace.sweeping.sweeper import BATCH

log = structlog.get_logger(__name__)

PLACE_AFTER = timedelta(seconds=30)
"""A host remembers within the second; one that closes a workspace for good reason is not asked back at once."""


class Unremembered:
    """Finds a host for what is due, and gives up what is too old."""

    def __init__(self, database: Database, bus: AgentBus) -> None:
        self._database = database
        self._bus = bus

    def place(self) -> int:
        """Ask for a host for each workspace that has none and something to remember."""
        query = (
            select(Workspace.user_id, Workspace.project_id)
            .join(Task, and_(Task.user_id == Workspace.user_id, Task.project_id == Workspace.project_id))
            .where(DUE, Task.finished_at < utc_now() - PLACE_AFTER, Workspace.node_id.is_(None))
            .distinct()
            .limit(BATCH)
        )
        with self._database.system_session("interactions without a host") as session:
            rows = session.execute(query).all()
        return sum(self._bus.request_placement(WorkspaceKey(*row)) for row in rows)

    def give_up(self) -> int:
        """Note that what could not be stored for too long is not remembered."""
        too_old = select(Task.id).where(DUE, Task.finished_at < utc_now() - GIVE_UP_AFTER).limit(BATCH)
        with self._database.system_session("interactions given up") as session:
            tasks = session.scalars(too_old).all()
            if not tasks:
                return 0
            session.execute(
                update(Task)
                .where(Task.id.in_(tasks))
                .values(remembered_at=utc_now())
                .execution_options(synchronize_session=False)
            )
            session.commit()
        log.warning("interactions_given_up", count=len(tasks))
        INTERACTIONS_REMEMBERED.labels("given_up").inc(len(tasks))
        return len(tasks)
