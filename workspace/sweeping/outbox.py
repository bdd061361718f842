"""Tasks that may start and are on no queue: never sent, lost with the broker, or held although nothing holds them."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import and_, exists, or_, select, update
from sqlalchemy.orm import aliased

from models import Task, utc_now
from models.statuses import HeldReason, TaskStatus
from models.tenancy import Database
from workspace.agent_bus import AgentBus
from workspace.ledger import QueuedTask, release_next
from workspace.ledger_statements import AT_WORK
from workspace.names import WorkspaceKey
from workspace.sweeping.sweeper import BATCH
from workspace.user_cap import UserCap

SEND_BACKOFF = (5, 10, 20, 60)
"""Seconds until a sent row may be sent again, by how often it was sent."""


class Outbox:
    """Sends what the rows say has to be sent."""

    def __init__(
        self,
        *,
        database: Database,
        bus: AgentBus,
        user_cap: UserCap,
        queue_length: Callable[[str], int],
        in_hand: Callable[[Sequence[QueuedTask]], dict[str, int]],
    ) -> None:
        """Take what it needs.

        Args:
            queue_length: how many messages the broker has on a queue.
            in_hand: how many messages the hosts of these tasks have in hand and not started, by queue.
        """
        self._database = database
        self._bus = bus
        self._user_cap = user_cap
        self._queue_length = queue_length
        self._in_hand = in_hand

    def release_held(self) -> int:
        """Queue what a session held although nothing of it is at work any more."""
        other = aliased(Task)
        at_work = or_(
            other.status.in_(AT_WORK),
            and_(other.status == TaskStatus.HELD, other.held_reason == HeldReason.USER_CAP),
        )
        stuck = (
            select(Task.user_id, Task.project_id, Task.session_id)
            .distinct()
            .where(
                Task.status == TaskStatus.HELD,
                Task.held_reason == HeldReason.SESSION,
                ~exists().where(other.session_id == Task.session_id, at_work),
            )
            .limit(BATCH)
        )
        with self._database.system_session("held tasks") as session:
            rows = session.execute(stuck).all()
        released = 0
        for user_id, project_id, session_id in rows:
            key = WorkspaceKey(user_id, project_id)
            with self._database.tenant_session(user_id) as session:
                task = release_next(session, key, session_id)
                session.commit()
            if task:
                released += 1
                self._bus.send_task_to_agent(key, task.agent_name, task.id)
        return released

    def release_capped(self) -> int:
        """Queue what waited for its user's other work although there is room."""
        waiting = (
            select(Task.user_id)
            .distinct()
            .where(Task.status == TaskStatus.HELD, Task.held_reason == HeldReason.USER_CAP)
            .limit(BATCH)
        )
        with self._database.system_session("users at their cap") as session:
            users = session.scalars(waiting).all()
        released = 0
        for user_id in users:
            for task in self._user_cap.release(user_id):
                released += 1
                self._bus.send_task_to_agent(task.key, task.agent_name, task.id)
        return released

    def send(self) -> int:
        """Send the queued rows whose message never went out, or whose queue holds fewer messages than rows."""
        unsent, doubtful = self._queued_rows()
        wanted = list(unsent)
        in_hand = self._in_hand([rows[0] for _, rows in doubtful.values()]) if doubtful else {}
        for queue, (messages_due, rows) in doubtful.items():
            missing = messages_due - self._queue_length(queue) - in_hand.get(queue, 0)
            wanted.extend(rows[: max(missing, 0)])
        sent = [task for task in wanted if self._bus.send_task_to_agent(task.key, task.agent_name, task.id)]
        self._mark_sent([task.id for task in sent])
        return len(sent)

    def _queued_rows(self) -> tuple[list[QueuedTask], dict[str, tuple[int, list[QueuedTask]]]]:
        """Return the rows never sent, and for each queue how many were sent and which of those are due again."""
        with self._database.system_session("queued tasks") as session:
            rows = session.execute(
                select(Task.id, Task.user_id, Task.project_id, Task.agent_name, Task.sent_at, Task.send_count)
                .where(Task.status == TaskStatus.QUEUED)
                .order_by(Task.id)
                .limit(BATCH * 20)
            ).all()
        now = utc_now()
        unsent: list[QueuedTask] = []
        sent: dict[str, tuple[int, list[QueuedTask]]] = {}
        for row in rows:
            task = QueuedTask(row.id, WorkspaceKey(row.user_id, row.project_id), row.agent_name)
            if row.sent_at is None:
                unsent.append(task)
                continue
            queue = task.key.agent_queue(task.agent_name)
            count, due = sent.get(queue, (0, []))
            backoff = SEND_BACKOFF[min(row.send_count, len(SEND_BACKOFF)) - 1]
            if now - row.sent_at >= timedelta(seconds=backoff):
                due.append(task)
            sent[queue] = (count + 1, due)
        return unsent, {queue: entry for queue, entry in sent.items() if entry[1]}

    def _mark_sent(self, ids: Sequence[UUID]) -> None:
        if not ids:
            return
        with self._database.system_session("sent tasks") as session:
            session.execute(
                update(Task)
                .where(Task.id.in_(ids), Task.status == TaskStatus.QUEUED)
                .values(sent_at=utc_now(), send_count=Task.send_count + 1)
                .execution_options(synchronize_session=False)
            )
            session.commit()
