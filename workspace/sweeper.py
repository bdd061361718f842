"""What beat asks for every few seconds: send what was lost, end what was left behind, tell what was not told.

Each step is compare-and-set or harmless when done twice, so two sweeps at once change nothing that one would not.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Text, and_, cast, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from models import Json, Message, Run, Task, Workspace, utc_now
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.agent_bus import AgentBus
from workspace.errors import CodelabError, WorkerLost
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, Failure, Payload, RunCancelled, RunCompleted, RunFailed, TaskFailed, Usage
from workspace.ledger import QueuedTask, release_next, settle_run
from workspace.metrics import TASKS_SETTLED, TASKS_SWEPT
from workspace.names import WorkspaceKey

log = structlog.get_logger(__name__)

SEND_BACKOFF = (5, 10, 20, 60)
"""Seconds until a sent row may be sent again, by how often it was sent."""
SWEEP_LOCK = 0x636F_6465  # "code"
"""The advisory lock of a sweep: one at a time in a deployment, so that nothing is sent or told twice."""
BATCH = 500
"""Rows a step takes at once: a sweep stays short, the next one goes on."""
UNANNOUNCED_AFTER = timedelta(seconds=10)
"""A node writes down every second what it told; this leaves it time to."""


class _Lost(NamedTuple):
    task_id: UUID
    key: WorkspaceKey
    session_id: UUID
    run_id: UUID
    agent_id: UUID | None
    agent_name: str


_LOST = (Task.id, Task.user_id, Task.project_id, Task.session_id, Task.run_id, Task.agent_id, Task.agent_name)

_HOSTED = exists().where(
    Workspace.user_id == Task.user_id,
    Workspace.project_id == Task.project_id,
    Workspace.node_id == Task.node_id,
    Workspace.epoch == Task.epoch,
    Workspace.alive_until >= func.now(),
)
"""Whether the node that works on a task still hosts its workspace."""


class Sweeper:
    """Mends what no live process will."""

    def __init__(
        self,
        *,
        database: Database,
        bus: AgentBus,
        publisher: EventPublisher,
        queue_length: Callable[[str], int],
    ) -> None:
        self._database = database
        self._bus = bus
        self._publisher = publisher
        self._queue_length = queue_length

    def sweep(self, *, judge_nodes: bool = True) -> Mapping[str, int]:
        """Run every step; a step that fails is logged and does not keep the others from running.

        Args:
            judge_nodes: whether a node whose claim has lapsed may be taken for lost.

        Returns:
            How many things each step mended; nothing while another sweep is under way.
        """
        with self._database.exclusively(SWEEP_LOCK) as alone:
            return self._sweep(judge_nodes=judge_nodes) if alone else {}

    def _sweep(self, *, judge_nodes: bool) -> Mapping[str, int]:
        done: Counter[str] = Counter()
        steps = {
            "released": self.release_held,
            "lost": self.fail_lost,
            "placed": self.place,
            "sent": self.send,
            "announced": self.announce,
        }
        for name, step in steps.items():
            if name == "lost" and not judge_nodes:
                continue
            try:
                done[name] = step()
            except Exception:  # each step stands alone; the next sweep tries again
                log.exception("sweep_step_failed", step=name)
            TASKS_SWEPT.labels(name).inc(done[name])
        if any(done.values()):
            log.info("swept", **done)
        return done

    # -- tasks whose node is gone ----------------------------------------------------------------------------

    def fail_lost(self) -> int:
        """End tasks that run on a node which no longer hosts their workspace."""
        with self._database.system_session("tasks of lost nodes") as session:
            rows = session.execute(
                select(*_LOST)
                .join(Workspace, and_(Workspace.user_id == Task.user_id, Workspace.project_id == Task.project_id))
                .where(
                    Task.status == TaskStatus.RUNNING,
                    or_(
                        Workspace.node_id.is_distinct_from(Task.node_id),
                        Workspace.epoch != Task.epoch,
                        Workspace.alive_until < utc_now(),
                    ),
                )
                .limit(BATCH)
            ).all()
        return sum(self._fail(_lost(row), ~_HOSTED) for row in rows)

    def fail_one(self, task_id: UUID, node_id: str) -> bool:
        """End a task that its own node, which lives, does not work on; returns whether it was still running."""
        with self._database.system_session("task that runs nowhere") as session:
            row = session.execute(select(*_LOST).where(Task.id == task_id)).one_or_none()
        return row is not None and self._fail(_lost(row), Task.node_id == node_id)

    def _fail(self, task: _Lost, still: ColumnElement[bool]) -> bool:
        """Fail a task if it is running and `still` holds of it."""
        reason = WorkerLost()
        failure = Failure(error_code=reason.code, detail=reason.detail, retryable=reason.retryable)
        error = failure.model_dump(mode="json")
        with self._database.tenant_session(task.key.user_id) as session:
            if not _end_task(session, task, error, still):
                return False
            settle_run(session, task.run_id, RunStatus.FAILED, error=error)
            next_task = release_next(session, task.key, task.session_id)
            session.commit()
        TASKS_SETTLED.labels("failed").inc()
        log.warning("task_lost", task_id=str(task.task_id), run_id=str(task.run_id), code=reason.code)
        scope = EventScope(key=task.key, session_id=task.session_id, run_id=task.run_id, task_id=task.task_id)
        told = TaskFailed(agent_id=task.agent_id, agent_name=task.agent_name, error=failure)
        if self._publisher.publish(scope, told, RunFailed(mode=RunMode.DIRECT, error=failure)):
            self._mark_announced([task.run_id])
        if next_task:
            self._bus.send_task_to_agent(next_task.key, next_task.agent_name, next_task.id)
        return True

    # -- work that waits -------------------------------------------------------------------------------------

    def release_held(self) -> int:
        """Queue what a session held although nothing of it is at work any more."""
        other = aliased(Task)
        at_work = (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING)
        stuck = (
            select(Task.user_id, Task.project_id, Task.session_id)
            .distinct()
            .where(
                Task.status == TaskStatus.HELD,
                Task.held_reason == HeldReason.SESSION,
                ~exists().where(other.session_id == Task.session_id, other.status.in_(at_work)),
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

    def place(self) -> int:
        """Ask for a host for each workspace that has queued tasks and none."""
        with self._database.system_session("workspaces without a host") as session:
            rows = session.execute(
                select(Workspace.user_id, Workspace.project_id)
                .where(
                    or_(Workspace.node_id.is_(None), Workspace.alive_until < utc_now()),
                    exists().where(
                        Task.user_id == Workspace.user_id,
                        Task.project_id == Workspace.project_id,
                        Task.status == TaskStatus.QUEUED,
                    ),
                )
                .limit(BATCH)
            ).all()
        return sum(self._bus.request_placement(WorkspaceKey(*row)) for row in rows)

    def send(self) -> int:
        """Send the queued rows whose message never went out, or whose queue holds fewer messages than rows."""
        unsent, doubtful = self._queued_rows()
        wanted = list(unsent)
        for queue, (messages_due, rows) in doubtful.items():
            missing = messages_due - self._queue_length(queue)
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

    # -- what was not told -----------------------------------------------------------------------------------

    def announce(self) -> int:
        """Publish the end of each run whose terminal event did not go out."""
        reply = (
            select(func.max(cast(Message.id, Text)))
            .where(
                Message.session_id == Run.session_id, Message.run_id == Run.id, Message.role == MessageRole.ASSISTANT
            )
            .correlate(Run)
            .scalar_subquery()
        )
        with self._database.system_session("unannounced runs") as session:
            rows = session.execute(
                select(Run, reply)
                .where(Run.announced_at.is_(None), Run.finished_at < utc_now() - UNANNOUNCED_AFTER)
                .order_by(Run.finished_at)
                .limit(BATCH)
            ).all()
        told: list[UUID] = []
        for run, message_id in rows:
            if not self._tell(run, message_id):
                break  # Redis is away; the rest would only wait for it, too
            told.append(run.id)
        self._mark_announced(told)
        return len(told)

    def _mark_announced(self, runs: Sequence[UUID]) -> None:
        if not runs:
            return
        with self._database.system_session("announced runs") as session:
            session.execute(
                update(Run)
                .where(Run.id.in_(runs))
                .values(announced_at=utc_now())
                .execution_options(synchronize_session=False)
            )
            session.commit()

    def _tell(self, run: Run, message_id: str | None) -> bool:
        scope = EventScope(key=WorkspaceKey(run.user_id, run.project_id), session_id=run.session_id, run_id=run.id)
        return self._publisher.publish(scope, terminal_event(run, message_id)) is not None


def terminal_event(run: Run, message_id: str | None) -> Payload:
    """Return the event that tells of a run's end."""
    if run.status in {RunStatus.COMPLETED, RunStatus.PARTIAL}:
        reply = UUID(message_id) if message_id else None
        return RunCompleted(mode=run.mode, message_id=reply, usage=Usage.model_validate(run.usage))
    error = Failure.model_validate(run.error or Failure(error_code=CodelabError.code, detail="unknown").model_dump())
    return (RunCancelled if run.status is RunStatus.CANCELLED else RunFailed)(mode=run.mode, error=error)


def _lost(row: Any) -> _Lost:
    return _Lost(row[0], WorkspaceKey(row[1], row[2]), *row[3:])


def _end_task(session: Session, task: _Lost, error: Json, still: ColumnElement[bool]) -> bool:
    moved = session.execute(
        update(Task)
        .where(Task.id == task.task_id, Task.status == TaskStatus.RUNNING, still)
        .values(status=TaskStatus.FAILED, finished_at=utc_now(), error=error)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return moved.one_or_none() is not None
