"""What the whole deployment has at this moment, counted from the rows: for metrics, by whichever process is asked."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import func, select

from models import Task, UserAgent, Workspace
from models.statuses import AgentStatus, TaskStatus
from models.tenancy import Database

FRESH_FOR = 5.0
"""Seconds for which a count is used again: scrapers may be many."""


class Counts(NamedTuple):
    """How many there are."""

    nodes: int
    """That host something."""
    workspaces: dict[str, int]
    """By `hosted` and `not_hosted`."""
    agents: dict[str, int]
    """By stored status."""
    tasks: dict[str, int]
    """Those that have not ended, by status."""
    oldest_queued: float
    """Seconds for which the first of the queued tasks has waited."""


class Census:
    """Counts, within one reading of the database, at most every few seconds."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: tuple[float, Counts] | None = None

    def take(self) -> Counts:
        """Return the counts, which may be a few seconds old."""
        with self._lock:
            if self._counted is None or self._clock() - self._counted[0] > FRESH_FOR:
                self._counted = (self._clock(), self._count())
            return self._counted[1]

    def _count(self) -> Counts:
        active = TaskStatus.active()
        with self._database.system_session("metrics") as session:
            hosted, nodes, workspaces = session.execute(
                select(
                    func.count(Workspace.node_id), func.count(Workspace.node_id.distinct()), func.count()
                ).select_from(Workspace)
            ).one()
            agents = session.execute(select(UserAgent.status, func.count()).group_by(UserAgent.status)).all()
            tasks = session.execute(
                select(Task.status, func.count()).where(Task.status.in_(active)).group_by(Task.status)
            ).all()
            waited = session.scalar(
                select(func.extract("epoch", func.now() - func.min(Task.sent_at))).where(
                    Task.status == TaskStatus.QUEUED
                )
            )
        return Counts(
            nodes=nodes,
            workspaces={"hosted": hosted, "not_hosted": workspaces - hosted},
            agents={status.value: 0 for status in (AgentStatus.READY, AgentStatus.ERROR)}
            | {status.value: count for status, count in agents},
            tasks={status.value: 0 for status in active} | {status.value: count for status, count in tasks},
            oldest_queued=max(float(waited or 0), 0.0),
        )
