"""Which ended tasks have to become memories: rows of `tasks` whose `remembered_at` is null, the outbox of memory.

A row is marked after its memory was stored. Whoever dies in between stores it again, under the same id.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, func, select, update

from models import Json, Message, Run, Task, UserAgent, Workspace, utc_now
from models.statuses import MessageRole
from models.tenancy import Database
from models.work import REMEMBERED
from workspace.agent_config import AgentConfig
from workspace.memory.memories import InteractionType
from workspace.names import WorkspaceKey

GIVE_UP_AFTER = timedelta(hours=24)
"""What could not be stored until then is not remembered."""


class DueTask(NamedTuple):
    """A task that ended and is not remembered yet."""

    task_id: UUID
    key: WorkspaceKey
    session_id: UUID
    run_id: UUID
    agent_id: UUID | None
    """Null: the agent is gone."""
    agent_name: str
    error: Json | None
    """Why it failed, if it did."""
    ended_at: datetime
    config: AgentConfig | None


class Exchange(NamedTuple):
    """What a task was asked, and what it answered."""

    asked: str
    answered: str
    kind: InteractionType = InteractionType.CONVERSATION


class Marked(NamedTuple):
    """What a mark found."""

    tasks: frozenset[UUID]
    """Those that were due until now. Of the others somebody decided meanwhile that they are not remembered, or their
    rows are gone."""
    agent_exists: bool


class Backlog(NamedTuple):
    """What is due."""

    number: int
    oldest: datetime | None


DUE = and_(Task.remembered_at.is_(None), Task.status.in_(REMEMBERED), Task.finished_at.is_not(None))
"""What has to be remembered."""


class Remembering:
    """Reads and writes what is due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(
        self, node_id: str, *, limit: int, without: Collection[UUID] = (), without_agents: Collection[UUID] = ()
    ) -> list[DueTask]:
        """Return what is due in the workspaces that a node hosts, what ended first at first.

        Args:
            without: tasks that are left out.
            without_agents: agents whose tasks are left out.
        """
        query = (
            select(
                Task.id,
                Task.user_id,
                Task.project_id,
                Task.session_id,
                Task.run_id,
                Task.agent_id,
                Task.agent_name,
                Task.error,
                Task.finished_at,
                UserAgent.config,
            )
            .join(Workspace, and_(Workspace.user_id == Task.user_id, Workspace.project_id == Task.project_id))
            .outerjoin(UserAgent, and_(UserAgent.user_id == Task.user_id, UserAgent.id == Task.agent_id))
            .where(DUE, Workspace.node_id == node_id)
            .order_by(Task.finished_at)
            .limit(limit)
        )
        if without:
            query = query.where(Task.id.not_in(without))
        if without_agents:
            query = query.where(Task.agent_id.is_(None) | Task.agent_id.not_in(without_agents))
        with self._database.system_session("interactions to remember") as session:
            return [_due(row) for row in session.execute(query)]

    def backlog(self, node_id: str) -> Backlog:
        """Return how much is due in the workspaces that a node hosts."""
        query = (
            select(func.count(Task.id), func.min(Task.finished_at))
            .join(Workspace, and_(Workspace.user_id == Task.user_id, Workspace.project_id == Task.project_id))
            .where(DUE, Workspace.node_id == node_id)
        )
        with self._database.system_session("interactions to remember") as session:
            return Backlog(*session.execute(query).tuples().one())

    def exchanges(self, tasks: Sequence[DueTask]) -> dict[UUID, Exchange]:
        """Return by task what one user's tasks were asked and answered.

        In a direct run these are its messages. A task of a plan has an instruction and a result of its own.
        """
        if not tasks:
            return {}
        parts = self._of_plans([task.task_id for task in tasks], tasks[0].key.user_id)
        direct = [task for task in tasks if task.task_id not in parts]
        runs = self._of_runs(direct) if direct else {}
        return parts | {task.task_id: runs[task.run_id] for task in direct if task.run_id in runs}

    def _of_plans(self, tasks: Sequence[UUID], user_id: UUID) -> dict[UUID, Exchange]:
        with self._database.tenant_session(user_id) as session:
            rows = session.execute(
                select(Task.id, Task.instruction, Task.result).where(Task.id.in_(tasks), Task.instruction.is_not(None))
            ).tuples()
            return {
                task_id: Exchange(asked or "", answered or "", InteractionType.TASK)
                for task_id, asked, answered in rows
            }

    def _of_runs(self, tasks: Sequence[DueTask]) -> dict[UUID, Exchange]:
        said: dict[UUID, dict[MessageRole, str]] = {}
        with self._database.tenant_session(tasks[0].key.user_id) as session:
            rows = session.execute(
                select(Message.run_id, Message.role, Message.content)
                .where(
                    Message.session_id.in_({task.session_id for task in tasks}),
                    Message.run_id.in_({task.run_id for task in tasks}),
                )
                .order_by(Message.id)
            ).tuples()
            for run_id, role, content in rows:
                said.setdefault(run_id, {})[role] = content
            # A retry has no message of its own.
            retries = select(Run.id, Message.content).join(
                Message, and_(Message.session_id == Run.session_id, Message.run_id == Run.message_of)
            )
            for run_id, content in session.execute(
                retries.where(Run.id.in_({task.run_id for task in tasks}), Message.role == MessageRole.USER)
            ).tuples():
                said.setdefault(run_id, {})[MessageRole.USER] = content
        return {
            run_id: Exchange(texts.get(MessageRole.USER, ""), texts.get(MessageRole.ASSISTANT, ""))
            for run_id, texts in said.items()
        }

    def mark(self, tasks: Sequence[DueTask]) -> Marked:
        """Note that an agent's tasks were seen to; returns which of them were due still, and if the agent is there."""
        agent_id = tasks[0].agent_id
        with self._database.tenant_session(tasks[0].key.user_id) as session:
            marked = session.scalars(
                update(Task)
                .where(Task.id.in_([task.task_id for task in tasks]), Task.remembered_at.is_(None))
                .values(remembered_at=utc_now())
                .returning(Task.id)
                .execution_options(synchronize_session=False)
            ).all()
            there = session.scalar(select(UserAgent.id).where(UserAgent.id == agent_id)) is not None
            session.commit()
        return Marked(frozenset(marked), there)

    def forget(
        self,
        key: WorkspaceKey,
        *,
        agent_id: UUID | None = None,
        run_id: UUID | None = None,
        session_id: UUID | None = None,
    ) -> int:
        """See that what is due in a workspace is never stored; all arguments count together.

        A run that is named is not remembered when it ends later either. To be called before memories are removed, so
        that what is stored at this moment is removed with them or by who stores it.

        Returns:
            How many tasks these were.
        """
        chosen = [
            column == value
            for column, value in ((Task.agent_id, agent_id), (Task.run_id, run_id), (Task.session_id, session_id))
            if value is not None
        ]
        if run_id is None:
            chosen.append(Task.status.in_(REMEMBERED))
        with self._database.tenant_session(key.user_id) as session:
            forgotten = session.scalars(
                update(Task)
                .where(Task.project_id == key.project_id, Task.remembered_at.is_(None), *chosen)
                .values(remembered_at=utc_now())
                .returning(Task.id)
                .execution_options(synchronize_session=False)
            ).all()
            session.commit()
        return len(forgotten)


def _due(row: Any) -> DueTask:
    return DueTask(
        task_id=row.id,
        key=WorkspaceKey(row.user_id, row.project_id),
        session_id=row.session_id,
        run_id=row.run_id,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        error=row.error,
        ended_at=row.finished_at,
        config=AgentConfig.model_validate(row.config) if row.config is not None else None,
    )
