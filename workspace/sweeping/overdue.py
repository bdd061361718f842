"""What has a deadline and went past it: runs that grew too old, tasks that do not end."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import aliased

from models import Run, Task, utc_now
from models.statuses import CancelReason, TaskStatus
from models.tenancy import Database
from workspace.alerts import Alerts
from workspace.attachable import is_of_same_queue
from workspace.cancellation import Cancellation
from workspace.endings import Endings
from workspace.errors import NotFound
from workspace.events import AlertKind
from workspace.names import WorkspaceKey
from workspace.sweeping.sweeper import BATCH

MERCY = timedelta(seconds=60)
"""A task past its deadline gets so much longer to end by itself, which its node sees to."""


class Overdue:
    """Ends what is past its deadline, and tells of what is stuck."""

    def __init__(
        self,
        *,
        database: Database,
        cancellation: Cancellation,
        endings: Endings,
        end_tasks: Callable[[list[UUID]], int],
        alerts: Alerts,
        run_max_age: float,
        stuck_after: float,
        task_deadline: float,
    ) -> None:
        """Take what it needs.

        Args:
            end_tasks: ends running tasks in the rows; returns how many it ended.
            alerts: tells operators and sessions of stuck tasks.
            run_max_age: seconds from a message to the end of its run, whatever it waits for.
            stuck_after: seconds after which a task that runs, or that waits for an idle agent, is told of.
            task_deadline: seconds of running time after which its node should have ended a task.
        """
        self._database = database
        self._cancellation = cancellation
        self._endings = endings
        self._end_tasks = end_tasks
        self._alerts = alerts
        self._run_max_age = timedelta(seconds=run_max_age)
        self._stuck_after = timedelta(seconds=stuck_after)
        self._task_deadline = timedelta(seconds=task_deadline)

    def end_old_runs(self) -> int:
        """End runs that are older than a run may become."""
        with self._database.system_session("runs that grew too old") as session:
            rows = session.execute(
                select(Run.id, Run.user_id, Run.project_id)
                .where(
                    Run.finished_at.is_(None),
                    Run.created_at < utc_now() - self._run_max_age,
                    Run.cancel_requested_at.is_(None),
                )
                .order_by(Run.created_at)
                .limit(BATCH)
            ).all()
        for run_id, user_id, project_id in rows:
            key = WorkspaceKey(user_id, project_id)
            try:
                ending = self._cancellation.cancel_run(key, run_id, CancelReason.TOO_OLD)
            except NotFound:
                continue  # its session was deleted at this moment
            self._endings.carry_out(key, ending)
        return len(rows)

    def end_overdue(self) -> int:
        """End tasks that their living nodes should have ended long ago: a thread hangs there."""
        with self._database.system_session("overdue tasks") as session:
            tasks = session.scalars(
                select(Task.id)
                .where(Task.status == TaskStatus.RUNNING, Task.started_at < utc_now() - self._task_deadline - MERCY)
                .limit(BATCH)
            ).all()
        return self._end_tasks(list(tasks)) if tasks else 0

    def tell_stuck(self) -> int:
        """Tell of tasks that run too long, and of those that wait too long for an agent that does nothing."""
        other = aliased(Task)
        since = utc_now() - self._stuck_after
        idle = ~exists().where(is_of_same_queue(other, Task), other.status == TaskStatus.RUNNING)
        with self._database.system_session("stuck tasks") as session:
            running = session.scalars(
                select(Task).where(Task.status == TaskStatus.RUNNING, Task.started_at < since).limit(BATCH)
            ).all()
            queued = session.scalars(
                select(Task).where(Task.status == TaskStatus.QUEUED, Task.sent_at < since, idle).limit(BATCH)
            ).all()
        told = [self._tell(task, "A task runs for longer than any should.") for task in running]
        told += [self._tell(task, "A task waits although its agent does nothing.") for task in queued]
        return sum(told)

    def _tell(self, task: Task, detail: str) -> bool:
        return self._alerts.raise_alert(
            AlertKind.STUCK_TASK,
            key=WorkspaceKey(task.user_id, task.project_id),
            session_id=task.session_id,
            run_id=task.run_id,
            detail=detail,
            task_id=task.id,
            agent_id=task.agent_id,
            agent_name=task.agent_name,
            node_id=task.node_id,
        )
