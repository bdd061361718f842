"""`Idempotency-Key`: a message that is sent again under its key gets the first answer, and makes no second run.

The key is written with the run, in the transaction that accepts the message, and lives as long as the run does. The
session's row is locked before it is looked for, so of two at once one is first; for two sessions at once the unique
index decides.
"""

import hashlib
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from models import Json, Run, Task
from models.tenancy import Database
from workspace.errors import IdempotencyConflict
from workspace.names import PLANNING_ID, WorkspaceKey
from workspace.requested import request_of

MOST_CHARACTERS = 255


class Repeat(NamedTuple):
    """A client's own name for a message, and what the message was."""

    key: str
    digest: str
    """SHA-256 of the request."""

    @classmethod
    def of(cls, key: str, *parts: str) -> "Repeat":
        """Return the name of a message that consists of `parts`."""
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big"))  # so that no two lists of parts look alike
            digest.update(data)
        return cls(key, digest.hexdigest())


class Repeated(NamedTuple):
    """A message that was accepted before."""

    receipt: Json
    """What was answered then beside ids. Its `cursor` is missing until the events of the message were told."""
    message_id: UUID
    run_id: UUID
    task_id: UUID


def find_repeat(session: Session, repeat: Repeat) -> Repeated | None:
    """Return the message that came with this key before.

    Raises:
        IdempotencyConflict: it was another one.
    """
    run = session.scalars(select(Run).where(Run.idempotency_key == repeat.key)).one_or_none()
    if run is None:
        return None
    if run.idempotency_digest != repeat.digest:
        raise IdempotencyConflict
    message_id = request_of(session, run).id
    # The first one, which the receipt named: the tasks of a plan that is done again have lower ids than its planning.
    first = or_(Task.plan_task_id.is_(None), Task.plan_task_id == PLANNING_ID)
    task_id: Any = session.scalars(select(Task.id).where(Task.run_id == run.id, first)).one_or_none()
    return Repeated(run.receipt or {}, message_id, run.id, task_id)


class Receipts:
    """Keeps what was answered to a message that has a key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, key: WorkspaceKey, run_id: UUID, receipt: Json) -> None:
        """Write down the whole of the first answer, when all of it is known."""
        with self._database.tenant_session(key.user_id) as session:
            session.execute(
                update(Run).where(Run.id == run_id).values(receipt=receipt).execution_options(synchronize_session=False)
            )
            session.commit()
