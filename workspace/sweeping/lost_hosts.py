"""Hosts that are gone: their workspaces are taken from them, their running tasks end, the rest finds a new host."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import Session

from models import Run, Task, Workspace, utc_now
from models.statuses import RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from workspace.agent_bus import AgentBus
from workspace.alerts import Alerts
from workspace.announcements import mark_announced
from workspace.approvals.closing import ClosedApproval, close_tasks
from workspace.cancellation import end_status, failure_of
from workspace.claims import Claims
from workspace.errors import DeadlineExceeded, RunFailure, WorkerLost
from workspace.event_publisher import EventPublisher
from workspace.events import AlertKind, EventScope, Failure, Payload, RunCancelled, RunFailed, TaskCancelled, TaskFailed
from workspace.leases import Leases
from workspace.ledger import QueuedTask, release_next, settle_run
from workspace.leftovers import keep_usage
from workspace.metrics import TASKS_SETTLED
from workspace.names import ORCHESTRATOR, WorkspaceKey
from workspace.plans.afterwards import PlanAfterwards
from workspace.plans.edges import FollowUps
from workspace.plans.ended import EndedPlan
from workspace.plans.rows import follow
from workspace.plans.standing import stand
from workspace.sweeping.sweeper import BATCH
from workspace.user_cap import UserCap

log = structlog.get_logger(__name__)

MOST_ATTEMPTS = 3
"""How often a task that the orchestrator does itself is started at most, when its nodes are lost."""
MOST_HOSTED = 100_000
"""Workspaces whose leases are looked at in one sweep."""


class _Lost(NamedTuple):
    task_id: UUID
    key: WorkspaceKey
    session_id: UUID
    run_id: UUID
    agent_id: UUID | None
    agent_name: str
    plan_task_id: str | None
    attempts: int

    @property
    def may_begin_anew(self) -> bool:
        """Whether it does nothing that must not be done twice: planning, and writing the answer of a plan."""
        return self.agent_name == ORCHESTRATOR and self.attempts < MOST_ATTEMPTS


_LOST = (
    Task.id,
    Task.user_id,
    Task.project_id,
    Task.session_id,
    Task.run_id,
    Task.agent_id,
    Task.agent_name,
    Task.plan_task_id,
    Task.attempts,
)


class _End(NamedTuple):
    """How a lost task ends."""

    status: TaskStatus
    failure: Failure


@dataclass(kw_only=True)
class _After:
    """What has to be sent and told then."""

    released: Sequence[QueuedTask] = ()
    follow_ups: FollowUps = field(default_factory=FollowUps)
    over: Sequence[EndedPlan] = ()


_HOSTED = exists().where(
    Workspace.user_id == Task.user_id,
    Workspace.project_id == Task.project_id,
    Workspace.node_id == Task.node_id,
    Workspace.epoch == Task.epoch,
)
"""Whether the node that works on a task hosts its workspace, as the rows say."""


class LostHosts:
    """Finds what the nodes that are gone left behind."""

    def __init__(
        self,
        *,
        database: Database,
        claims: Claims,
        leases: Leases,
        bus: AgentBus,
        publisher: EventPublisher,
        user_cap: UserCap,
        alerts: Alerts,
        afterwards: PlanAfterwards,
    ) -> None:
        self._database = database
        self._claims = claims
        self._leases = leases
        self._bus = bus
        self._publisher = publisher
        self._user_cap = user_cap
        self._alerts = alerts
        self._afterwards = afterwards

    def bury(self) -> int:
        """Take workspaces away from hosts whose lease has lapsed."""
        with self._database.system_session("hosted workspaces") as session:
            rows = session.execute(
                select(Workspace.user_id, Workspace.project_id)
                .where(Workspace.node_id.is_not(None), Workspace.node_id != self._claims.node_id)
                .limit(MOST_HOSTED)
            ).all()
        silent = self._leases.silent([WorkspaceKey(*row) for row in rows]) if rows else set()
        buried = sum(self._claims.bury(key) for key in silent)
        if buried:
            log.warning("hosts_lost", workspaces=buried)
        return buried

    def fail_lost(self, key: WorkspaceKey | None = None) -> int:
        """End tasks whose node hosts their workspace no more; those of one workspace, or all."""
        gone = [
            Task.status == TaskStatus.RUNNING,
            or_(Workspace.node_id.is_distinct_from(Task.node_id), Workspace.epoch != Task.epoch),
        ]
        if key is not None:
            gone += [Task.user_id == key.user_id, Task.project_id == key.project_id]
        with self._database.system_session("tasks of lost nodes") as session:
            rows = session.execute(
                select(*_LOST)
                .join(Workspace, and_(Workspace.user_id == Task.user_id, Workspace.project_id == Task.project_id))
                .where(*gone)
                .limit(BATCH)
            ).all()
        return sum(self._fail(_lost(row), ~_HOSTED, WorkerLost()) for row in rows)

    def fail_one(self, task_id: UUID, node_id: str, reason: RunFailure | None = None) -> bool:
        """End a task that its own node, which lives, does not work on; returns whether it was still running."""
        with self._database.system_session("task that runs nowhere") as session:
            row = session.execute(select(*_LOST).where(Task.id == task_id)).one_or_none()
        return row is not None and self._fail(_lost(row), Task.node_id == node_id, reason or WorkerLost())

    def fail_overdue(self, task_ids: Sequence[UUID]) -> int:
        """End tasks that their nodes should have ended long ago."""
        with self._database.system_session("overdue tasks") as session:
            rows = session.execute(select(*_LOST).where(Task.id.in_(task_ids))).all()
        reason = DeadlineExceeded("The task did not end within its running time.")
        return sum(self._fail(_lost(row), Task.status == TaskStatus.RUNNING, reason) for row in rows)

    def _fail(self, task: _Lost, still: ColumnElement[bool], reason: RunFailure) -> bool:
        """End a task if it is running and `still` holds of it; one whose end was asked for has what it asked for."""
        with self._database.tenant_session(task.key.user_id) as session:
            if not _lock(session, task, still):
                return False
            asked = session.scalar(select(Run.cancel_reason).where(Run.id == task.run_id))
            if asked is None and isinstance(reason, WorkerLost) and task.may_begin_anew:
                _requeue(session, task)
                session.commit()
                log.warning("task_begins_anew", task_id=str(task.task_id), run_id=str(task.run_id))
                self._send([QueuedTask(task.task_id, task.key, task.agent_name)])
                return True
            reason = reason if asked is None else failure_of(asked)
            end = _End(TaskStatus.FAILED if asked is None else end_status(asked)[0], Failure.of(reason))
            _end_task(session, task, end)
            closed = close_tasks(session, [task.task_id])
            after = _end_in_plan(session, task) if task.plan_task_id else _end_run(session, task, end)
            session.commit()
        TASKS_SETTLED.labels(end.status.value).inc()
        log.warning("task_lost", task_id=str(task.task_id), run_id=str(task.run_id), code=reason.code)
        if isinstance(reason, WorkerLost):
            self._alerts.raise_alert(
                AlertKind.WORKER_LOST, key=task.key, detail="A node was lost while it worked on a task."
            )
        self._tell(task, end, closed)
        self._send(after.released)
        self._afterwards.carry_out(task.key, after.follow_ups, after.over)
        self._send(self._user_cap.release(task.key.user_id))
        return True

    def _tell(self, task: _Lost, end: _End, closed: Sequence[ClosedApproval]) -> None:
        scope = EventScope(key=task.key, session_id=task.session_id, run_id=task.run_id, task_id=task.task_id)
        published = self._publisher.publish(scope, *(approval.event() for approval in closed), *_told(task, end))
        if published and task.plan_task_id is None:
            mark_announced(self._database, [task.run_id])

    def _send(self, tasks: Sequence[QueuedTask]) -> None:
        for task in tasks:
            self._bus.send_task_to_agent(task.key, task.agent_name, task.id)

    def place(self) -> int:
        """Ask for a host for each workspace that has queued tasks and none."""
        with self._database.system_session("workspaces without a host") as session:
            rows = session.execute(
                select(Workspace.user_id, Workspace.project_id)
                .where(
                    Workspace.node_id.is_(None),
                    exists().where(
                        Task.user_id == Workspace.user_id,
                        Task.project_id == Workspace.project_id,
                        Task.status == TaskStatus.QUEUED,
                    ),
                )
                .limit(BATCH)
            ).all()
        return sum(self._bus.request_placement(WorkspaceKey(*row)) for row in rows)


def _lost(row: Any) -> _Lost:
    return _Lost(row[0], WorkspaceKey(row[1], row[2]), *row[3:])


def _lock(session: Session, task: _Lost, still: ColumnElement[bool]) -> bool:
    """Lock a task that is running and of which `still` holds; a cancel takes this lock, too, before it marks a run."""
    found = session.scalar(
        select(Task.id)
        .where(Task.id == task.task_id, Task.status == TaskStatus.RUNNING, still)
        .with_for_update(key_share=True)
    )
    return found is not None


def _requeue(session: Session, task: _Lost) -> None:
    session.execute(
        update(Task)
        .where(Task.id == task.task_id)
        .values(status=TaskStatus.QUEUED, sent_at=utc_now(), send_count=1, node_id=None, epoch=None)
        .execution_options(synchronize_session=False)
    )


def _end_task(session: Session, task: _Lost, end: _End) -> None:
    error = end.failure.model_dump(mode="json")
    session.execute(
        update(Task)
        .where(Task.id == task.task_id)
        .values(status=end.status, finished_at=utc_now(), error=error, recalled=None)
        .execution_options(synchronize_session=False)
    )


def _end_run(session: Session, task: _Lost, end: _End) -> _After:
    """End the direct run of a task with it."""
    status = RunStatus.FAILED if end.status is TaskStatus.FAILED else RunStatus.CANCELLED
    settle_run(session, task.run_id, status, error=end.failure.model_dump(mode="json"))
    keep_usage(session, [task.run_id])
    next_task = release_next(session, task.key, task.session_id)
    return _After(released=[next_task] if next_task else [])


def _end_in_plan(session: Session, task: _Lost) -> _After:
    """Let the plan of a task go on without it."""
    follow_ups = follow(session, task.run_id, [task.task_id])
    over = stand(session, task.key, task.run_id)
    return _After(follow_ups=follow_ups, over=[over] if over else [])


def _told(task: _Lost, end: _End) -> list[Payload]:
    failed = TaskFailed(agent_id=task.agent_id, agent_name=task.agent_name, error=end.failure)
    if task.plan_task_id is not None:
        cancelled = TaskCancelled(
            agent_id=task.agent_id, agent_name=task.agent_name, plan_task_id=task.plan_task_id, error=end.failure
        )
        return [failed if end.status is TaskStatus.FAILED else cancelled]
    if end.status is TaskStatus.FAILED:
        return [failed, RunFailed(mode=RunMode.DIRECT, error=end.failure)]
    return [RunCancelled(mode=RunMode.DIRECT, error=end.failure)]
