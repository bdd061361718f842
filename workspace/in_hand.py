"""Messages that hosts took from their queues and have not started: no queue has them, and they are not lost."""

from collections.abc import Sequence

import structlog
from sqlalchemy import select, tuple_

from models import Workspace
from models.tenancy import Database
from workspace.errors import Unavailable
from workspace.ledger import QueuedTask
from workspace.names import WorkspaceKey
from workspace.reports import Reports

log = structlog.get_logger(__name__)


class InHand:
    """Asks what the hosts of tasks last said."""

    def __init__(self, database: Database, reports: Reports) -> None:
        self._database = database
        self._reports = reports

    def of(self, tasks: Sequence[QueuedTask]) -> dict[str, int]:
        """Return how many messages the hosts of these tasks' agents have in hand, by queue; none where unknown."""
        keys = {task.key for task in tasks}
        with self._database.system_session("hosts of queued tasks") as session:
            hosts = {
                WorkspaceKey(user_id, project_id): (node_id, epoch)
                for user_id, project_id, node_id, epoch in session.execute(
                    select(Workspace.user_id, Workspace.project_id, Workspace.node_id, Workspace.epoch).where(
                        tuple_(Workspace.user_id, Workspace.project_id).in_(keys)
                    )
                )
                if node_id is not None
            }
        try:
            reports = self._reports.read({node_id for node_id, _ in hosts.values()})
        except Unavailable:
            log.warning("hosts_not_heard", count=len(hosts))
            return {}
        found: dict[str, int] = {}
        for key, (node_id, epoch) in hosts.items():
            report = reports.get(node_id, {}).get(key.slug)
            if report is not None and report.epoch == epoch:
                for agent in report.agents.values():
                    found[key.agent_queue(agent.name)] = agent.in_hand
        return found
