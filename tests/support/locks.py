"""Rows of the database that a test holds, so that two things meet at a moment which it chooses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select, text

from models import Base
from models.tenancy import Database
from tests.support.waiting import eventually


@contextmanager
def row_held(database: Database, entity: type[Base], row_id: UUID | str) -> Iterator["Hold"]:
    """Hold a row for the block: who wants to change it, or to lock it, waits."""
    with database.engine.connect() as connection:
        _lock(connection, entity, row_id)
        yield Hold(database, connection)
        connection.rollback()


@contextmanager
def row_held_next(database: Database, entity: type[Base], row_id: UUID | str) -> Iterator["NextHold"]:
    """Stand in line for a row that somebody holds: as soon as that one lets go, it is held until the block's end.

    Who wants it later stands behind this.
    """
    with database.engine.connect() as connection:
        hold = NextHold(database, connection, entity, row_id)
        try:
            yield hold
        finally:
            hold.taken(within=40.0)
            connection.rollback()


_WAITING = text("""
    WITH RECURSIVE blocked (pid) AS (
        SELECT :pid UNION SELECT a.pid FROM pg_stat_activity a JOIN blocked b ON b.pid = ANY (pg_blocking_pids(a.pid))
    )
    SELECT count(*) - 1 FROM blocked
""")


class Hold:
    """A connection that others may have to wait for."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._pid = connection.execute(select(func.pg_backend_pid())).scalar_one()

    def let_go(self) -> None:
        """Let the next one have the row."""
        self._connection.rollback()

    def waiting(self) -> int:
        """Return how many connections wait for this one, those included that wait for one which does."""
        with self._database.engine.connect() as connection:
            return int(connection.execute(_WAITING, {"pid": self._pid}).scalar_one())

    def await_waiting(self, count: int = 1) -> None:
        """Wait until so many connections wait for it."""
        eventually(lambda: self.waiting() >= count, f"{count} to wait for a row")


class NextHold(Hold):
    """A hold that begins when the one before it ends."""

    def __init__(self, database: Database, connection: Connection, entity: type[Base], row_id: UUID | str) -> None:
        super().__init__(database, connection)
        self._thread = threading.Thread(target=_lock, args=(connection, entity, row_id), daemon=True)
        self._thread.start()
        eventually(self._stands_in_line, "a place in the line for a row")

    def _stands_in_line(self) -> bool:
        with self._database.engine.connect() as connection:
            blockers = connection.execute(select(func.pg_blocking_pids(self._pid))).scalar_one()
        return bool(blockers)

    def taken(self, *, within: float = 20.0) -> None:
        """Wait until the row is held."""
        self._thread.join(within)
        assert not self._thread.is_alive(), "the row was not let go"


def _lock(connection: Connection, entity: type[Base], row_id: UUID | str) -> None:
    """Lock a row as an UPDATE does that leaves its keys alone: rows may still refer to it."""
    table: Any = entity.__table__
    connection.execute(select(table.c.id).where(table.c.id == row_id).with_for_update(key_share=True)).one()
