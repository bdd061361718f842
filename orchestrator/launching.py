"""The launch of a plan: in one transaction its planning task ends and the rows of all its tasks are there.

After the commit the chords get their counters and the first tasks are sent. What is lost between the two, or of them,
the sweeper finds: the rows say all of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models import Run, Task, UserAgent, new_id, utc_now
from models.statuses import RunStatus, TaskStatus
from models.tenancy import Database
from orchestrator.plans.compiling import compile_plan
from orchestrator.plans.plan import Plan
from orchestrator.retrying import carried_results
from orchestrator.run_end import completed
from workspace.errors import AgentDeleted
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, Failure, TaskCancelled, Usage
from workspace.ledger import StartedTask
from workspace.ledger_statements import CANCEL_REASON
from workspace.names import CLOSING_ID, ORCHESTRATOR
from workspace.own_task import is_own
from workspace.plans.edges import Edges, FollowUps, Join
from workspace.plans.rows import follow, queued
from workspace.plans.telling import tell_skipped
from workspace.plans.view import PlanTask, PlanView
from workspace.task_end import scope_of


class _Launched(NamedTuple):
    joins: Sequence[Join]
    follow_ups: FollowUps
    gone: Sequence[Task]
    """Tasks whose agents were deleted since the plan was made."""


class Launching:
    """Launches plans."""

    def __init__(self, database: Database, edges: Edges, publisher: EventPublisher) -> None:
        self._database = database
        self._edges = edges
        self._publisher = publisher

    def launch(self, task: StartedTask, view: PlanView, plan: Plan, usage: Usage) -> bool:
        """End a planning task with its plan at work, and tell that.

        The caller then lets go what waited for the user-wide cap, as after every task.

        Args:
            task: the planning task, which this node works on.
            view: the plan as it is in `runs.plan`; its tasks have the ids that their rows get.
            plan: the same, valid.
            usage: of planning, which is on the task's row already.

        Returns:
            Whether it was launched; if not, nothing was written: the task is no longer this node's, or the end of its
            run was asked for, which `Ledger.cancel_reason` tells.
        """
        with self._database.tenant_session(task.key.user_id) as session:
            # As a message locks them: one that is deleted at this moment takes its tasks here with it, or was not here.
            there = _lock_agents(session, task, view)
            if not _end_planning(session, task):
                return False
            rows = _rows(task, view, plan, there)
            _carry(session, task.run_id, plan, rows)
            session.add_all(rows)
            session.flush()
            launched = _set_off(session, task.run_id, rows)
            _begin(session, task.run_id)
            session.commit()
        # Told first: what is sent may be the closing task alone, and a session is told nothing of a run after its end.
        self._tell(task, usage, launched)
        self._edges.open(launched.joins)
        self._edges.send(launched.follow_ups)
        return True

    def _tell(self, task: StartedTask, usage: Usage, launched: _Launched) -> None:
        self._publisher.publish(scope_of(task), completed(task, usage))
        failure = Failure.of(AgentDeleted())
        for gone in launched.gone:
            scope = EventScope(key=task.key, session_id=task.session_id, run_id=task.run_id, task_id=gone.id)
            cancelled = TaskCancelled(
                agent_id=None, agent_name=gone.agent_name, plan_task_id=gone.plan_task_id or "", error=failure
            )
            self._publisher.publish(scope, cancelled)
        tell_skipped(self._publisher, launched.follow_ups.skipped)


def _lock_agents(session: Session, task: StartedTask, view: PlanView) -> Mapping[UUID, int]:
    """Lock the agents of a plan; returns the versions of the configs of those that there are."""
    wanted = (
        select(UserAgent.id, UserAgent.version)
        .where(UserAgent.id.in_({each.agent_id for each in view.tasks}), UserAgent.project_id == task.key.project_id)
        .order_by(UserAgent.id)
        .with_for_update(key_share=True)
    )
    return dict(session.execute(wanted).all())


def _end_planning(session: Session, task: StartedTask) -> bool:
    """Complete the planning task, if it is this node's and its run is wanted."""
    # Locked first: whoever asks for the end of the run later waits for it, and finds the tasks that are written here.
    ended = session.scalar(
        update(Task)
        .where(Task.id == task.id, is_own(task))
        .values(status=TaskStatus.COMPLETED, finished_at=utc_now(), recalled=None)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return ended is not None and CANCEL_REASON.execute(session, {"run": task.run_id}).one_or_none() is None


def _begin(session: Session, run_id: UUID) -> None:
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.finished_at.is_(None))
        .values(status=RunStatus.RUNNING, started_at=func.coalesce(Run.started_at, utc_now()))
        .execution_options(synchronize_session=False)
    )


def _rows(task: StartedTask, view: PlanView, plan: Plan, there: Mapping[UUID, int]) -> list[Task]:
    """Return the rows of a plan's tasks and of its closing task, in ascending order of their ids."""
    edges = compile_plan(plan)
    ids = {each.id: each.task_id for each in view.tasks}
    closing = _later_than(ids.values())

    def ids_of(names: Iterable[str]) -> list[UUID]:
        return [ids[name] for name in names]

    rows = [_planned(task, each, there.get(each.agent_id)) for each in view.tasks]
    for row, each in zip(rows, view.tasks, strict=True):
        row.depends_on, row.follows = ids_of(each.depends_on), ids_of(edges[each.id])
    rows.append(
        Task(
            **_of_run(task),
            id=closing,
            agent_id=None,
            agent_name=ORCHESTRATOR,
            agent_version=0,
            plan_task_id=CLOSING_ID,
            depends_on=ids_of(ids),
            follows=ids_of(edges[CLOSING_ID]),
            status=TaskStatus.PENDING,
        )
    )
    return sorted(rows, key=lambda row: row.id)


def _planned(task: StartedTask, each: PlanTask, version: int | None) -> Task:
    """Return the row of a planned task, for the version of its agent's config that it has to run with at least."""
    is_there = version is not None
    row = Task(
        **_of_run(task),
        id=each.task_id,
        agent_id=each.agent_id if is_there else None,
        agent_name=each.agent_name,
        agent_version=version or 0,
        plan_task_id=each.id,
        instruction=each.instruction,
        status=TaskStatus.PENDING,
    )
    if not is_there:
        row.status, row.finished_at = TaskStatus.CANCELLED, utc_now()
        row.error = Failure.of(AgentDeleted()).model_dump(mode="json")
    return row


def _carry(session: Session, run_id: UUID, plan: Plan, rows: Iterable[Task]) -> None:
    """Complete what an earlier run has done, if this one does again the rest: its results are copied, at no cost."""
    retry_of = session.scalar(select(Run.retry_of).where(Run.id == run_id))
    carried = carried_results(session, retry_of, plan) if retry_of else {}
    now = utc_now()
    for row in rows:
        result = carried.get(row.plan_task_id or "")
        if result is not None:
            row.status, row.result, row.error = TaskStatus.COMPLETED, result.text, None
            # It never started here, so nothing counts it as work, and its agent remembers it from the run that did it.
            row.finished_at = row.remembered_at = now


def _of_run(task: StartedTask) -> dict[str, UUID]:
    return {
        "user_id": task.key.user_id,
        "project_id": task.key.project_id,
        "session_id": task.session_id,
        "run_id": task.run_id,
    }


def _later_than(ids: Iterable[UUID]) -> UUID:
    """Return an id that sorts behind these. Made in the same millisecond as the last of them, one may not."""
    last = max(ids)
    while (made := new_id()) <= last:
        pass
    return made


def _set_off(session: Session, run_id: UUID, rows: Sequence[Task]) -> _Launched:
    """Queue what waits for nothing, or only for what was done before, and take the consequences of agents gone."""
    gone = [row for row in rows if row.status is TaskStatus.CANCELLED]
    ended = [row.id for row in rows if row.status.is_final]
    follow_ups = FollowUps()
    for row in rows:
        if row.status is TaskStatus.PENDING and not row.follows:
            row.status, row.sent_at, row.send_count = TaskStatus.QUEUED, utc_now(), 1
            follow_ups.queued.append(queued(row))
    session.flush()
    if ended:
        follow_ups.add(follow(session, run_id, ended))
    joins = [Join(run_id, row.plan_task_id or "", len(row.follows)) for row in rows if len(row.follows) > 1]
    return _Launched(joins, follow_ups, gone)
