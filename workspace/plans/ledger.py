"""The end of a task of a plan: its outcome first, once, and in the same transaction all that follows in the rows."""

from typing import NamedTuple

from models import utc_now
from models.statuses import TaskStatus
from models.tenancy import Database
from workspace.approvals.closing import ClosedApproval, close_tasks
from workspace.events import Failure, Usage
from workspace.ledger import StartedTask, own
from workspace.ledger_statements import SETTLE_TASK
from workspace.plans.edges import FollowUps
from workspace.plans.ended import EndedPlan
from workspace.plans.rows import follow
from workspace.plans.standing import stand


class SettledTask(NamedTuple):
    """What the end of a task of a plan wrote."""

    follow_ups: FollowUps
    """What has to be sent and told."""
    ended: EndedPlan | None
    """Its run, if that ended with it."""
    crowded: bool
    """Whether tasks of the user may wait for the user-wide cap: `workspace.user_cap` has to look."""
    closed: tuple[ClosedApproval, ...] = ()
    """What was asked of the owner and is needed no more."""


class PlanLedger:
    """Ends tasks of plans."""

    def __init__(self, database: Database, *, user_task_cap: int) -> None:
        self._database = database
        self._user_task_cap = user_task_cap

    def complete(self, task: StartedTask, text: str, usage: Usage) -> SettledTask | None:
        """Write a task's result.

        Returns:
            What was written, or `None` if the task is no longer this node's: then nothing was.
        """
        return self._settle(task, TaskStatus.COMPLETED, usage, text=text)

    def fail(self, task: StartedTask, failure: Failure, usage: Usage) -> SettledTask | None:
        """Write that a task failed.

        Returns:
            As `complete`.
        """
        return self._settle(task, TaskStatus.FAILED, usage, failure=failure)

    def cancel(self, task: StartedTask, failure: Failure, usage: Usage, *, text: str) -> SettledTask | None:
        """Write that a task was cancelled, and keep what its agent wrote so far.

        Returns:
            As `complete`.
        """
        return self._settle(task, TaskStatus.CANCELLED, usage, failure=failure, text=text or None)

    def _settle(
        self,
        task: StartedTask,
        status: TaskStatus,
        usage: Usage,
        *,
        failure: Failure | None = None,
        text: str | None = None,
    ) -> SettledTask | None:
        values = own(task) | {
            "task_status": status,
            "now": utc_now(),
            "new_usage": usage.model_dump(mode="json"),
            "new_error": failure.model_dump(mode="json") if failure else None,
            "text": text,
        }
        with self._database.tenant_session(task.key.user_id) as session:
            row = SETTLE_TASK.execute(session, values).one_or_none()
            if row is None:
                return None
            # One that is complete has nothing open.
            closed = tuple(close_tasks(session, [task.id])) if failure else ()
            follow_ups = follow(session, task.run_id, [task.id])
            ended = stand(session, task.key, task.run_id)
            session.commit()
        # Tasks that start at this very moment are not counted yet: half of the cap leaves room for them.
        crowded = row.waits_for_cap or row.running * 2 >= self._user_task_cap
        return SettledTask(follow_ups, ended, crowded, closed)
