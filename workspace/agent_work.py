"""The end of an agent's work when the agent is deleted: its direct runs end, and plans go on without its tasks."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import Run, Task, utc_now
from models.statuses import CancelReason, RunMode, TaskStatus
from workspace.approvals.closing import close_tasks
from workspace.cancellation import EndedTask, Ending, end_runs, lock_tasks
from workspace.names import WorkspaceKey
from workspace.plans.rows import follow
from workspace.plans.standing import stand


def end_work_of_agent(session: Session, key: WorkspaceKey, agent_id: UUID) -> Ending:
    """Cancel all tasks of an agent, in the caller's transaction, which holds the agent's lock.

    Those that a node works on end in the rows as well: what the node still writes is refused.
    """
    its_runs = select(Task.run_id).where(Task.agent_id == agent_id, Task.status.in_(TaskStatus.active()))
    runs = session.execute(
        select(Run.id, Run.mode).where(Run.finished_at.is_(None), Run.id.in_(its_runs)).order_by(Run.id)
    ).all()
    # All of them in one ascending order, before anything is changed.
    lock_tasks(session, Task.run_id.in_([run.id for run in runs]))
    direct = [run.id for run in runs if run.mode is RunMode.DIRECT]
    ending = end_runs(session, key, direct, CancelReason.AGENT_DELETED)
    for run in runs:
        if run.mode is RunMode.ORCHESTRATED:
            _end_in_plan(session, key, run.id, agent_id, ending)
    return ending


def _end_in_plan(session: Session, key: WorkspaceKey, run_id: UUID, agent_id: UUID, ending: Ending) -> None:
    tasks = _cancel(session, run_id, agent_id, ending)
    if not tasks:
        return
    ended = [task.task_id for task in tasks]
    ending.ended_tasks += tasks
    ending.closed += close_tasks(session, ended)
    ending.follow_ups.add(follow(session, run_id, ended))
    # Its closing task is still to come, so it does not end here, unless its own end was asked for.
    if over := stand(session, key, run_id):
        ending.over.append(over)


def _cancel(session: Session, run_id: UUID, agent_id: UUID, ending: Ending) -> Sequence[EndedTask]:
    rows = session.execute(
        update(Task)
        .where(Task.run_id == run_id, Task.agent_id == agent_id, Task.status.in_(TaskStatus.active()))
        .values(
            status=TaskStatus.CANCELLED,
            finished_at=utc_now(),
            error=ending.failure.model_dump(mode="json"),
            held_reason=None,
            recalled=None,
        )
        .returning(Task.id, Task.session_id, Task.run_id, Task.agent_name, Task.plan_task_id)
        .execution_options(synchronize_session=False)
    ).all()
    return [EndedTask._make(row) for row in rows]
