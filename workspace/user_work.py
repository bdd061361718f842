"""What a user has at work or waiting for the user-wide cap, as parts of the statements that run with each message."""

from typing import Final

from sqlalchemy import func, select

from models import Task
from models.statuses import HeldReason, TaskStatus
from models.tenant_statement import table_of, tenant

_at_work, _capped = table_of(Task).alias("at_work"), table_of(Task).alias("capped")

RUNNING: Final = (
    select(func.count(_at_work.c.id))
    .where(_at_work.c.user_id == tenant(), _at_work.c.status == TaskStatus.RUNNING)
    .scalar_subquery()
)
"""How many tasks of the user are at work."""

WAITS_FOR_CAP: Final = (
    select(_capped.c.id)
    .where(
        _capped.c.user_id == tenant(),
        _capped.c.status == TaskStatus.HELD,
        _capped.c.held_reason == HeldReason.USER_CAP,
    )
    .exists()
)
"""Whether tasks of the user wait for the user-wide cap."""
