"""The rows of a plan move on: what follows when tasks of it end. How its run stands then: `workspace.plans.standing`.

All of it happens in the caller's transaction, and is worked out from the rows alone: `follows` has the edges. Whoever
comes here has locked the tasks that ended, or all active ones of the run. What depends on them has higher ids, so tasks
are locked in ascending order, and the run after them.
"""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session, defer

from models import Task, utc_now
from models.statuses import TaskStatus
from workspace.ledger import QueuedTask
from workspace.names import CLOSING_ID, WorkspaceKey
from workspace.plans.edges import Arrival, FollowUps, SkippedTask
from workspace.plans.outcome import WITHOUT_RESULT, causes

_TEXTS = tuple(defer(text, raiseload=True) for text in (Task.instruction, Task.result, Task.recalled))


def tasks_of(session: Session, run_id: UUID, *, texts: bool = False) -> Sequence[Task]:
    """Return all tasks of a run as they are now, in the order in which they may be locked.

    Args:
        texts: with instructions and results. They may be long, and who ends one task has no use for those of all.
    """
    tasks = select(Task).where(Task.run_id == run_id).order_by(Task.id).execution_options(populate_existing=True)
    return session.scalars(tasks if texts else tasks.options(*_TEXTS)).all()


def follow(session: Session, run_id: UUID, ended: Collection[UUID]) -> FollowUps:
    """Move what waits for tasks that ended, and return what has to be sent and told.

    What depends on one without a result is skipped at once, except for the closing task. A dependent that waits for
    one task is queued. A dependent that waits for several gets a part of its chord from each of them. What was skipped
    sets nothing off before all that it waited for has ended: the closing task comes after everything.

    Args:
        run_id: of the plan.
        ended: tasks of it that ended in this transaction.
    """
    tasks = tasks_of(session, run_id)
    _lock_pending(session, _dependents(ended, tasks))
    # Another branch may have skipped some of them until they were locked.
    tasks = tasks_of(session, run_id)
    before_this = settled(task for task in tasks if task.id not in ended)
    skipped = to_skip(tasks)
    _skip(session, skipped)
    gone = settled(tasks, beside=skipped) - before_this
    follow_ups = FollowUps()
    for task in tasks:
        before = gone.intersection(task.follows)
        if not before or task.status is not TaskStatus.PENDING or task in skipped:
            continue
        if len(task.follows) == 1:
            follow_ups.queued.append(queued(task))
        else:
            follow_ups.arrivals += arrivals(task, before, tasks)
    enqueue(session, [task.id for task in follow_ups.queued])
    for task in skipped:
        session.refresh(task)
        follow_ups.skipped.append(_skipped(task, tasks))
    return follow_ups


def settled(tasks: Iterable[Task], *, beside: Collection[Task] = ()) -> set[UUID]:
    """Return the tasks that have ended, and before them all that they wait for.

    Args:
        tasks: of one run or of several, in ascending order of their ids.
        beside: tasks among them that end now, whatever their rows say.
    """
    found: set[UUID] = set()
    for task in tasks:
        if (task.status.is_final or task in beside) and found.issuperset(task.follows):
            found.add(task.id)
    return found


def to_skip(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks of agents that are `pending` and wait, directly or not, for one that has no result.

    Args:
        tasks: of one run, each after all that it waits for.
    """
    lost: set[UUID] = set()
    skipped = []
    for task in tasks:
        if task.status in WITHOUT_RESULT or not lost.isdisjoint(task.follows):
            lost.add(task.id)
            if task.status is TaskStatus.PENDING and task.plan_task_id != CLOSING_ID:
                skipped.append(task)
    return skipped


def queued(task: Task) -> QueuedTask:
    """Return how a task is sent."""
    return QueuedTask(task.id, WorkspaceKey(task.user_id, task.project_id), task.agent_name, task.agent_id)


def arrivals(dependent: Task, ended: Collection[UUID], tasks: Iterable[Task]) -> list[Arrival]:
    """Return the parts of a task's chord that come from tasks which ended."""
    names = {task.id: task.plan_task_id or "" for task in tasks}
    return [
        Arrival(
            key=WorkspaceKey(dependent.user_id, dependent.project_id),
            run_id=dependent.run_id,
            dependency=names[each],
            dependent=dependent.plan_task_id or "",
            task=queued(dependent),
            index=index,
            size=len(dependent.follows),
        )
        for index, each in enumerate(dependent.follows)
        if each in ended
    ]


def enqueue(session: Session, tasks: Collection[UUID]) -> None:
    """Move tasks `pending -> queued`; they are sent right after the commit."""
    if not tasks:
        return
    session.execute(
        update(Task)
        .where(Task.id.in_(tasks), Task.status == TaskStatus.PENDING)
        .values(status=TaskStatus.QUEUED, sent_at=utc_now(), send_count=1)
        .execution_options(synchronize_session=False)
    )


def _dependents(of: Iterable[UUID], tasks: Sequence[Task]) -> set[UUID]:
    """Return all that waits for some tasks, directly or not."""
    found = set(of)
    for task in tasks:  # each after all that it waits for
        if not found.isdisjoint(task.follows):
            found.add(task.id)
    return found.difference(of)


def _lock_pending(session: Session, tasks: Collection[UUID]) -> None:
    session.execute(
        select(Task.id)
        .where(Task.id.in_(tasks), Task.status == TaskStatus.PENDING)
        .order_by(Task.id)
        .with_for_update(key_share=True)
    ).all()


def _skip(session: Session, tasks: Sequence[Task]) -> None:
    if not tasks:
        return
    session.execute(
        update(Task)
        .where(Task.id.in_([task.id for task in tasks]), Task.status == TaskStatus.PENDING)
        .values(status=TaskStatus.SKIPPED, finished_at=utc_now())
        .execution_options(synchronize_session=False)
    )


def _skipped(task: Task, tasks: Sequence[Task]) -> SkippedTask:
    return SkippedTask(
        id=task.id,
        key=WorkspaceKey(task.user_id, task.project_id),
        session_id=task.session_id,
        run_id=task.run_id,
        agent_id=task.agent_id,
        agent_name=task.agent_name,
        plan_task_id=task.plan_task_id or "",
        because_of=causes(task, tasks),
    )
