"""The user-wide cap on tasks at work: who waits for it, and who goes next.

A start checks the cap under a lock on the user's row (`workspace.ledger`); a task over it is `held`, in no queue and on
no node. Whoever ends a task looks here whether another one may go: the oldest of an agent that has a slot free, so that
no place stays empty while some task could use it, and every task becomes the oldest in the end.
"""

from collections import Counter
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models import Task, User, utc_now
from models.statuses import HeldReason, TaskStatus
from models.tenancy import Database
from workspace import attachable
from workspace.attachable import CONSUMER
from workspace.events import TaskWaiting
from workspace.ledger import QueuedTask
from workspace.names import WorkspaceKey


def waits_for_cap(agent_id: UUID | None, agent_name: str, cap: int) -> TaskWaiting:
    """Return the event that tells of a task that waits for its user's other work."""
    return TaskWaiting(
        agent_id=agent_id,
        agent_name=agent_name,
        reason=HeldReason.USER_CAP.value,
        detail=f"As many tasks of yours are at work as may be at once: {cap}.",
    )


class UserCap:
    """Lets tasks go that wait for their user's other work."""

    def __init__(self, database: Database, *, cap: int) -> None:
        self._database = database
        self.cap = cap

    def release(self, user_id: UUID) -> list[QueuedTask]:
        """Move as many tasks `held -> queued` as the user may start now; the caller sends them."""
        with self._database.tenant_session(user_id) as session:
            # Without the lock first: as long as the cap is reached, whoever ends one of those tasks comes here again.
            if self._room(session) <= 0:
                return []
            session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
            tasks = _still_held(session, self._next(session, user_id, self._room(session)))
            if tasks:
                session.execute(
                    update(Task)
                    .where(Task.id.in_([task.id for task in tasks]))
                    .values(
                        status=TaskStatus.QUEUED, held_reason=None, sent_at=utc_now(), send_count=Task.send_count + 1
                    )
                    .execution_options(synchronize_session=False)
                )
            session.commit()
        return tasks

    def _room(self, session: Session) -> int:
        running = session.scalars(select(func.count(Task.id)).where(Task.status == TaskStatus.RUNNING)).one()
        return self.cap - running

    def _next(self, session: Session, user_id: UUID, room: int) -> list[QueuedTask]:
        """Return the tasks to let go, oldest first: no more than `room`, nor than each agent has slots free."""
        if room <= 0:
            return []
        waiting = (
            select(
                Task.id,
                Task.project_id,
                CONSUMER.label("consumer"),
                Task.agent_name,
                func.row_number().over(partition_by=CONSUMER, order_by=Task.id).label("place"),
            )
            .where(Task.status == TaskStatus.HELD, Task.held_reason == HeldReason.USER_CAP)
            .subquery()
        )
        rows = session.execute(select(waiting).where(waiting.c.place <= room).order_by(waiting.c.id)).all()
        if not rows:
            return []
        slots = self._free_slots(session, {row.consumer for row in rows})
        chosen: list[QueuedTask] = []
        for row in rows:
            if len(chosen) == room:
                break
            if slots[row.consumer] > 0:
                slots[row.consumer] -= 1
                chosen.append(QueuedTask(row.id, WorkspaceKey(user_id, row.project_id), row.agent_name))
        return chosen

    def _free_slots(self, session: Session, consumers: set[UUID]) -> Counter[UUID]:
        """Return how many tasks each could start beside those that it runs or has on its queue."""
        taken = session.execute(
            select(CONSUMER, func.count(Task.id))
            .where(CONSUMER.in_(consumers), Task.status.in_([TaskStatus.QUEUED, TaskStatus.RUNNING]))
            .group_by(CONSUMER)
        ).all()
        free = Counter({agent.agent_id: agent.limit for agent in attachable.by_ids(session, list(consumers))})
        for consumer, count in taken:
            free[consumer] -= count
        return free


def _still_held(session: Session, tasks: list[QueuedTask]) -> list[QueuedTask]:
    """Lock tasks in the order in which the end of runs locks them; return those that were not ended meanwhile."""
    held = set(
        session.scalars(
            select(Task.id)
            .where(Task.id.in_([task.id for task in tasks]), Task.status == TaskStatus.HELD)
            .order_by(Task.run_id, Task.id)
            .with_for_update(key_share=True)
        )
    )
    return [task for task in tasks if task.id in held]
