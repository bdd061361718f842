"""Plans that stand still: tasks that wait for nothing any more, and chords whose counters Redis lost."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, any_, exists, func, or_, select
from sqlalchemy.orm import aliased

from models import Task, utc_now
from models.statuses import TaskStatus
from models.tenancy import Database
from workspace.names import WorkspaceKey
from workspace.plans.edges import Edges, FollowUps, Join
from workspace.plans.rows import arrivals, enqueue, queued, settled
from workspace.plans.standing import stand
from workspace.sweeping.sweeper import BATCH

UNDER_WAY = timedelta(seconds=5)
"""What was sent gets so long to arrive, and a launch to make its counters."""


class StuckPlans:
    """Sends again what was lost of plans."""

    def __init__(self, database: Database, edges: Edges) -> None:
        self._database = database
        self._edges = edges

    def promote(self) -> int:
        """Queue and send the tasks whose chord is complete by the rows, and which nobody started."""
        with self._database.system_session("tasks that wait for nothing") as session:
            rows = session.execute(
                select(Task.id, Task.run_id, Task.user_id, Task.project_id)
                .where(Task.status == TaskStatus.PENDING, _is_due())
                .order_by(Task.id)
                .limit(BATCH)
            ).all()
        return sum(self._promote(task, run, WorkspaceKey(user, project)) for task, run, user, project in rows)

    def _promote(self, task_id: UUID, run_id: UUID, key: WorkspaceKey) -> bool:
        with self._database.tenant_session(key.user_id) as session:
            task = session.scalars(
                select(Task)
                .where(Task.id == task_id, Task.status == TaskStatus.PENDING)
                .with_for_update(key_share=True)
            ).one_or_none()
            if task is None:
                return False
            follow_ups = FollowUps(queued=[queued(task)])
            enqueue(session, [task_id])
            stand(session, key, run_id)
            session.commit()
        self._edges.send(follow_ups)
        return True

    def reopen(self) -> int:
        """Make the counters of chords anew that are not complete and have none, and send their parts again."""
        with self._database.system_session("chords of plans") as session:
            joins = session.scalars(
                select(Task)
                .where(
                    Task.status == TaskStatus.PENDING,
                    func.cardinality(Task.follows) > 1,
                    Task.created_at < utc_now() - UNDER_WAY,
                )
                .order_by(Task.id)
                .limit(BATCH)
            ).all()
        by_join = {_join(task): task for task in joins}
        lost = {join: by_join[join] for join in self._edges.lost(list(by_join))}
        if not lost:
            return 0
        with self._database.system_session("plans whose chords are lost") as session:
            runs = {join.run_id for join in lost}
            tasks = session.scalars(select(Task).where(Task.run_id.in_(runs)).order_by(Task.id)).all()
        ended = settled(tasks)
        # A complete one has no counter any more, and is the other look's.
        open_ones = {join: task for join, task in lost.items() if not ended.issuperset(task.follows)}
        self._edges.open(list(open_ones))
        self._edges.send(_parts(list(open_ones.values()), ended, tasks))
        return len(open_ones)


def _is_due() -> ColumnElement[bool]:
    before = aliased(Task)
    unsettled = or_(before.finished_at.is_(None), before.finished_at > utc_now() - UNDER_WAY)
    return and_(func.cardinality(Task.follows) > 0, ~exists().where(before.id == any_(Task.depends_on), unsettled))


def _join(task: Task) -> Join:
    return Join(task.run_id, task.plan_task_id or "", len(task.follows))


def _parts(joins: Sequence[Task], ended: Collection[UUID], others: Sequence[Task]) -> FollowUps:
    of_run: dict[UUID, list[Task]] = defaultdict(list)
    for task in others:
        of_run[task.run_id].append(task)
    follow_ups = FollowUps()
    for join in joins:
        follow_ups.arrivals += arrivals(join, ended, of_run[join.run_id])
    return follow_ups
