"""Every change of a status, written down by the database itself: no statement gets past it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Engine, text

from models.statuses import ApprovalStatus, RunStatus, Status, TaskStatus, ToolCallStatus

WATCHED: dict[str, type[Status]] = {
    "tool_calls": ToolCallStatus,
    "approval_requests": ApprovalStatus,
    "tasks": TaskStatus,
    "runs": RunStatus,
}


class Move(NamedTuple):
    """A status became another one."""

    table: str
    old: str
    new: str

    @property
    def is_legal(self) -> bool:
        kind = WATCHED[self.table]
        return kind(self.new) in kind(self.old).following


class Moves:
    """What was written down since it was asked for the last time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def taken(self) -> list[Move]:
        with self._engine.begin() as connection:
            rows = connection.execute(text("DELETE FROM noted_moves RETURNING id, moved, old, new")).all()
        return [Move(*row[1:]) for row in sorted(rows)]


@contextmanager
def noted(engine: Engine) -> Iterator[Moves]:
    """Note the moves of all watched tables for the length of a block."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE noted_moves (id bigserial, moved text, old text, new text)"))
        connection.execute(
            text(
                "CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF NEW.status IS DISTINCT FROM OLD.status THEN"
                " INSERT INTO noted_moves (moved, old, new) VALUES (TG_TABLE_NAME, OLD.status, NEW.status);"
                " END IF; RETURN NULL; END $$"
            )
        )
        for table in WATCHED:
            connection.execute(
                text(f"CREATE TRIGGER note_move AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note_move()")
            )
    try:
        yield Moves(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP FUNCTION note_move() CASCADE"))
            connection.execute(text("DROP TABLE noted_moves"))
