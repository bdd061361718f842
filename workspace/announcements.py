"""Remembers which runs' ends were told, and writes it down for many at once.

`runs.announced_at` is what keeps the sweeper from telling a run's end again. Written with each message it would be a
fourth commit; written every second for all of them it is none. A node that dies in between has its last second told
twice, which a client sees as the same fact again.
"""

import threading
from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select, update

from models import Run, utc_now
from models.tenancy import Database


def mark_announced(database: Database, runs: Collection[UUID]) -> None:
    """Note that the ends of these runs were told."""
    if not runs:
        return
    # What somebody else has locked is being changed; at worst its end is told twice.
    free = select(Run.id).where(Run.id.in_(runs)).order_by(Run.id).with_for_update(key_share=True, skip_locked=True)
    with database.system_session("announced runs") as session:
        session.execute(
            update(Run)
            .where(Run.id.in_(session.scalars(free).all()))
            .values(announced_at=utc_now())
            .execution_options(synchronize_session=False)
        )
        session.commit()


class Announcements:
    """Collects run ids from the threads of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._told: list[UUID] = []

    def add(self, run_id: UUID) -> None:
        """Note that the run's terminal event is out."""
        with self._lock:
            self._told.append(run_id)

    def flush(self) -> int:
        """Write down what was noted; returns how many runs."""
        with self._lock:
            told, self._told = self._told, []
        if not told:
            return 0
        try:
            mark_announced(self._database, told)
        except Exception:
            with self._lock:
                self._told = told + self._told
            raise
        return len(told)
