"""Who hosts which workspace: one compare-and-set on its row, under its Redis lease.

The row (node, epoch) is the truth, which every start and finish of a task compares. The lease tells quickly whether the
node that the row names lives. Whoever wants to change the row takes the lease first, so that the host, should it live
after all, learns of it at its next renewal.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import redis
import structlog
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true, tuple_, update
from sqlalchemy.orm import Session

from models import Json, Run, Task, Workspace
from models.statuses import TaskStatus, WorkspaceState
from models.tenancy import Database
from workspace import attachable
from workspace.attachable import AgentRow
from workspace.leases import Leases, Take
from workspace.ledger import Host
from workspace.names import WorkspaceKey

log = structlog.get_logger(__name__)


class Claim(NamedTuple):
    """A workspace that is this node's."""

    epoch: int
    settings: Json
    lost_host: Host | None
    """The host before, if it was lost rather than stopped."""


class _Row(NamedTuple):
    node_id: str | None
    epoch: int
    lives: bool
    """Whether its host told Postgres that it lives, because Redis did not answer it."""
    settings: Json
    data_id: UUID | None


_LIVES = and_(Workspace.alive_until.is_not(None), Workspace.alive_until >= func.now())


class Claims:
    """One node's claims."""

    def __init__(self, database: Database, leases: Leases, *, node_id: str, data_id: UUID | None = None) -> None:
        """Take what it needs.

        Args:
            node_id: this node's name.
            data_id: the id of the data directory that it sees; a workspace whose files are in another one is left to
                the nodes that see that. `None`: this node keeps no files.
        """
        self._database = database
        self._leases = leases
        self.node_id = node_id
        self._data_id = data_id
        self._ttl = timedelta(seconds=leases.ttl)

    def host(self, epoch: int) -> Host:
        """Return this node under an epoch."""
        return Host(self.node_id, epoch)

    # -- taking and giving -----------------------------------------------------------------------------------

    def claim(self, key: WorkspaceKey) -> Claim | None:
        """Claim a workspace, or find that it is this node's already.

        Returns:
            The claim, or `None` while another living node hosts the workspace, or when it is gone.

        Raises:
            redis.RedisError: leases are out of reach, so nobody can know who lives.
        """
        row = self._row(key)
        if row is None or not self._sees_files_of(key, row) or not self._take_lease(key, row):
            return None
        is_own = row.node_id == self.node_id
        epoch = row.epoch if is_own else row.epoch + 1
        values: dict[str, object] = {}
        if not is_own:
            values |= {"node_id": self.node_id, "epoch": epoch, "state": WorkspaceState.INITIALIZING}
        if self._data_id is not None and row.data_id is None:
            values["data_id"] = self._data_id
        if not self._change(key, row, alive_until=None, **values):
            self._leases.release(self.node_id, [key])
            return None
        lost = Host(row.node_id, row.epoch) if row.node_id is not None and not is_own else None
        return Claim(epoch, row.settings, lost)

    def bury(self, key: WorkspaceKey) -> bool:
        """Take a workspace away from a host that is gone, for nobody: its tasks have to be ended.

        Returns:
            Whether it was taken away; not if its host lives after all.

        Raises:
            redis.RedisError: leases are out of reach.
        """
        row = self._row(key)
        if row is None or row.node_id is None or row.node_id == self.node_id:
            return False
        # A name of its own, so that this is no lease of a claim that the same node makes at the same moment.
        undertaker = f"{self.node_id}:undertaker"
        if row.lives or self._leases.take(key, undertaker, from_another=True) is not Take.TAKEN:
            return False
        try:
            return self._change(
                key, row, node_id=None, epoch=row.epoch + 1, alive_until=None, state=WorkspaceState.SHUTDOWN
            )
        finally:
            self._leases.release(undertaker, [key])

    def release(self, key: WorkspaceKey, epoch: int, state: WorkspaceState) -> bool:
        """Give one workspace away; returns whether it was this node's, under this epoch."""
        with self._database.tenant_session(key.user_id) as session:
            released = session.scalar(
                update(Workspace)
                .where(
                    Workspace.project_id == key.project_id,
                    Workspace.node_id == self.node_id,
                    Workspace.epoch == epoch,
                )
                .values(node_id=None, alive_until=None, state=state)
                .returning(Workspace.epoch)
                .execution_options(synchronize_session=False)
            )
            session.commit()
        self._forget_leases([key])
        return released is not None

    def release_all(self, keys: Collection[WorkspaceKey] | None = None) -> list[WorkspaceKey]:
        """Give these workspaces away, or every one of this node; returns those with tasks that wait."""
        if keys is not None and not keys:
            return []
        with self._database.system_session("node shutdown") as session:
            rows = session.execute(
                update(Workspace)
                .where(Workspace.node_id == self.node_id, _among(keys))
                .values(node_id=None, alive_until=None, state=WorkspaceState.SHUTDOWN)
                .returning(Workspace.user_id, Workspace.project_id)
                .execution_options(synchronize_session=False)
            ).all()
            released = [WorkspaceKey(*row) for row in rows]
            waiting = set(session.scalars(_projects_with_work(released))) if released else set()
            session.commit()
        self._forget_leases(released)
        return [key for key in released if key.project_id in waiting]

    def move(self, key: WorkspaceKey, epoch: int, state: WorkspaceState) -> bool:
        """Write the state of a workspace; returns whether it is still this node's and may have that state now."""
        values: Json = {"state": state}
        if state is WorkspaceState.INITIALIZED:
            values["initialized_at"] = func.now()
        with self._database.tenant_session(key.user_id) as session:
            moved = session.scalar(
                update(Workspace)
                .where(
                    Workspace.project_id == key.project_id,
                    Workspace.node_id == self.node_id,
                    Workspace.epoch == epoch,
                    Workspace.state.in_(WorkspaceState.expected_before(state)),
                )
                .values(**values)
                .returning(Workspace.epoch)
                .execution_options(synchronize_session=False)
            )
            session.commit()
        return moved is not None

    def _forget_leases(self, keys: Collection[WorkspaceKey]) -> None:
        """Delete the leases of rows that were released; those that stay lapse within a TTL."""
        try:
            self._leases.release(self.node_id, keys)
        except redis.RedisError as error:
            log.warning("leases_not_released", count=len(keys), error=repr(error))

    # -- keeping ---------------------------------------------------------------------------------------------

    def extend(self, keys: Collection[WorkspaceKey]) -> dict[WorkspaceKey, int]:
        """Say in Postgres that this node lives, while Redis does not answer; returns what is still its own."""
        return self._own(keys, extend=True)

    def own(self, keys: Collection[WorkspaceKey] | None = None) -> dict[WorkspaceKey, int]:
        """Return the epoch of each workspace (of those given, or of all) whose row names this node."""
        return self._own(keys, extend=False)

    def _own(self, keys: Collection[WorkspaceKey] | None, *, extend: bool) -> dict[WorkspaceKey, int]:
        if keys is not None and not keys:
            return {}
        columns = (Workspace.user_id, Workspace.project_id, Workspace.epoch)
        mine = and_(Workspace.node_id == self.node_id, _among(keys))
        with self._database.system_session("workspaces of this node") as session:
            if extend:
                rows = session.execute(
                    update(Workspace)
                    .where(mine)
                    .values(alive_until=func.now() + self._ttl)
                    .returning(*columns)
                    .execution_options(synchronize_session=False)
                ).all()
                session.commit()
            else:
                rows = session.execute(select(*columns).where(mine)).all()
        return {WorkspaceKey(user, project): epoch for user, project, epoch in rows}

    # -- what a workspace has --------------------------------------------------------------------------------

    def running(self) -> set[UUID]:
        """Return the tasks that the rows say this node works on."""
        with self._database.system_session("tasks of this node") as session:
            return set(
                session.scalars(select(Task.id).where(Task.status == TaskStatus.RUNNING, Task.node_id == self.node_id))
            )

    def cancelling(self) -> dict[UUID, Run]:
        """Return the runs of this node's tasks whose end is asked for, by task."""
        wanted = (
            select(Task.id, Run)
            .join(Run, Run.id == Task.run_id)
            .where(
                Run.cancel_requested_at.is_not(None),
                Run.finished_at.is_(None),
                Task.status == TaskStatus.RUNNING,
                Task.node_id == self.node_id,
            )
        )
        with self._database.system_session("cancelled tasks of this node") as session:
            return dict(session.execute(wanted).tuples().all())

    def agents(self, agent_ids: Sequence[UUID]) -> list[AgentRow]:
        """Return the rows of these agents, of whichever tenants; a project's id stands for its orchestrator."""
        if not agent_ids:
            return []
        with self._database.system_session("attached agents") as session:
            return attachable.by_ids(session, agent_ids)

    def agents_with_work(self, keys: Iterable[WorkspaceKey]) -> list[AgentRow]:
        """Return the agents of these workspaces that have tasks to start, their orchestrators among them."""
        workspaces = list(keys)
        if not workspaces:
            return []
        with self._database.system_session("agents with work") as session:
            return attachable.with_work(session, workspaces)

    def unwell_agents(self, keys: Iterable[WorkspaceKey]) -> list[AgentRow]:
        """Return the agents of these workspaces that are in error, whether they are attached or not."""
        workspaces = list(keys)
        if not workspaces:
            return []
        with self._database.system_session("agents in error") as session:
            return attachable.unwell(session, workspaces)

    def has_work(self, key: WorkspaceKey) -> bool:
        """Return whether a workspace has tasks that are queued or at work."""
        with self._database.tenant_session(key.user_id) as session:
            found = session.scalar(
                select(Task.id)
                .where(
                    Task.project_id == key.project_id,
                    Task.status.in_([TaskStatus.QUEUED, TaskStatus.RUNNING]),
                )
                .limit(1)
            )
        return found is not None

    def belongs_on(self, task_id: UUID, queue_name: str) -> bool:
        """Return whether a task is queued, and this is its queue."""
        with self._database.system_session("message of a task") as session:
            row = session.execute(
                select(Task.user_id, Task.project_id, Task.agent_name).where(
                    Task.id == task_id, Task.status == TaskStatus.QUEUED
                )
            ).one_or_none()
        return row is not None and WorkspaceKey(row[0], row[1]).agent_queue(row[2]) == queue_name

    # -- parts -----------------------------------------------------------------------------------------------

    def _row(self, key: WorkspaceKey) -> _Row | None:
        with self._database.tenant_session(key.user_id) as session:
            row = session.execute(
                select(Workspace.node_id, Workspace.epoch, _LIVES, Workspace.settings, Workspace.data_id).where(
                    Workspace.project_id == key.project_id
                )
            ).one_or_none()
        return _Row(row[0], row[1], bool(row[2]), row[3], row[4]) if row else None

    def _sees_files_of(self, key: WorkspaceKey, row: _Row) -> bool:
        """Whether a workspace's files are in the directory that this node sees; it would find none otherwise."""
        if self._data_id is None or row.data_id in {None, self._data_id}:
            return True
        log.error("workspace_of_another_data_directory", user_id=str(key.user_id), project_id=str(key.project_id))
        return False

    def _take_lease(self, key: WorkspaceKey, row: _Row) -> bool:
        from_another = row.node_id not in {None, self.node_id}
        if from_another and row.lives:
            return False
        return self._leases.take(key, self.node_id, from_another=from_another) is Take.TAKEN

    def _change(self, key: WorkspaceKey, row: _Row, **values: object) -> bool:
        """Change the row if it is still as it was read; a host that told of its life meanwhile keeps it."""
        with self._database.tenant_session(key.user_id) as session:
            moved = _compare_and_set(session, key, row, self.node_id, values)
            session.commit()
        return moved


def _compare_and_set(
    session: Session, key: WorkspaceKey, row: _Row, node_id: str, values: Mapping[str, object]
) -> bool:
    moved = session.scalar(
        update(Workspace)
        .where(
            Workspace.project_id == key.project_id,
            Workspace.node_id.is_not_distinct_from(row.node_id),
            Workspace.epoch == row.epoch,
            or_(Workspace.node_id.is_not_distinct_from(node_id), ~_LIVES),
        )
        .values(**values)
        .returning(Workspace.epoch)
        .execution_options(synchronize_session=False)
    )
    return moved is not None


def _among(keys: Collection[WorkspaceKey] | None) -> ColumnElement[bool]:
    return true() if keys is None else tuple_(Workspace.user_id, Workspace.project_id).in_(list(keys))


def _projects_with_work(keys: Sequence[WorkspaceKey]) -> Select[UUID]:
    return (
        select(Task.project_id)
        .distinct()
        .where(Task.project_id.in_([key.project_id for key in keys]), Task.status == TaskStatus.QUEUED)
    )
