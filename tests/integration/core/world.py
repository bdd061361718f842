"""Rows to work with, made through the models, and a way to do things at the same moment."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import select, update

from models import Base, ChatSession, Message, Project, Run, Task, User, UserAgent, Workspace, new_id
from models.tenancy import Database
from tests.support.rows import Rows, rows_of
from workspace.intake import Accepted, Intake, NewMessage
from workspace.ledger import HeldBack, Host, Ledger, StartedTask
from workspace.names import WorkspaceKey

HOST = Host("node", 1)
PLENTY = 1_000
"""A limit or a cap that a test does not reach."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """One user's project."""

    database: Database
    key: WorkspaceKey
    agent_id: UUID
    session_id: UUID

    # -- making ----------------------------------------------------------------------------------------------

    def add(self, *rows: Base) -> None:
        with self.database.system_session("a test makes rows") as session:
            for row in rows:
                session.add(row)
                session.flush()
            session.commit()

    def session(self) -> UUID:
        made = ChatSession(id=new_id(), user_id=self.key.user_id, project_id=self.key.project_id)
        self.add(made)
        return made.id

    def agent(self, name: str, **config: Any) -> UUID:
        made = UserAgent(
            id=new_id(),
            user_id=self.key.user_id,
            project_id=self.key.project_id,
            name=name,
            config={"name": name, **config},
        )
        self.add(made)
        return made.id

    def project(self) -> "World":
        """Another project of the same user."""
        return make_world(self.database, user_id=self.key.user_id)

    # -- working ---------------------------------------------------------------------------------------------

    def intake(self, *, queue_limit: int = PLENTY, cap: int = PLENTY) -> Intake:
        return Intake(self.database, queue_limit=queue_limit, user_task_cap=cap)

    def accept(
        self,
        session_id: UUID | None = None,
        content: str = "hello",
        agent: str | None = "helper",
        *,
        intake: Intake | None = None,
    ) -> Accepted:
        message = NewMessage(session_id=session_id or self.session_id, content=content, agent_name=agent)
        accepted = (intake or self.intake()).accept(self.key, message)
        assert isinstance(accepted, Accepted)
        return accepted

    def ledger(self, history_messages: int = 10, *, cap: int = PLENTY) -> Ledger:
        return Ledger(self.database, history_messages=history_messages, user_task_cap=cap)

    def start(self, accepted: Accepted, host: Host = HOST) -> StartedTask:
        started = self.try_to_start(accepted.task_id, host)
        assert isinstance(started, StartedTask)
        return started

    def try_to_start(
        self, task_id: UUID, host: Host = HOST, *, agent_id: UUID | None = None, cap: int = PLENTY
    ) -> StartedTask | HeldBack | None:
        return self.ledger(cap=cap).start(task_id, self.key, agent_id or self.agent_id, host)

    def started(self, session_id: UUID | None = None) -> StartedTask:
        """A task at work."""
        return self.start(self.accept(session_id))

    # -- looking and changing --------------------------------------------------------------------------------

    def task(self, task_id: UUID) -> Task:
        with self.database.system_session("a test looks") as session:
            return session.get_one(Task, task_id)

    def run(self, run_id: UUID) -> Run:
        with self.database.system_session("a test looks") as session:
            return session.get_one(Run, run_id)

    def tasks(self, session_id: UUID | None = None) -> Sequence[Task]:
        wanted = select(Task).where(Task.session_id == (session_id or self.session_id)).order_by(Task.id)
        with self.database.system_session("a test looks") as session:
            return session.scalars(wanted).all()

    def messages(self, session_id: UUID | None = None) -> Sequence[Message]:
        wanted = select(Message).where(Message.session_id == (session_id or self.session_id))
        with self.database.system_session("a test looks") as session:
            return session.scalars(wanted.order_by(Message.run_id, Message.id)).all()

    def rows(self) -> Rows:
        return rows_of(self.database, self.key.user_id)

    def change_task(self, task_id: UUID, **values: Any) -> None:
        self._change(update(Task).where(Task.id == task_id).values(**values))

    def change_run(self, run_id: UUID, **values: Any) -> None:
        self._change(update(Run).where(Run.id == run_id).values(**values))

    def change_agent(self, agent_id: UUID | None = None, **values: Any) -> None:
        self._change(update(UserAgent).where(UserAgent.id == (agent_id or self.agent_id)).values(**values))

    def change_workspace(self, **values: Any) -> None:
        self._change(update(Workspace).where(Workspace.project_id == self.key.project_id).values(**values))

    def workspace(self) -> Workspace:
        with self.database.system_session("a test looks") as session:
            return session.get_one(Workspace, tuple(self.key))

    def _change(self, statement: Any) -> None:
        with self.database.system_session("a test changes rows") as session:
            session.execute(statement.execution_options(synchronize_session=False))
            session.commit()


def make_world(database: Database, *, user_id: UUID | None = None, host: Host | None = HOST) -> World:
    """Make a user (or take one) with a project, its workspace, an agent `helper` and a session."""
    owner = user_id or new_id()
    key = WorkspaceKey(owner, new_id())
    agent, chat = new_id(), new_id()
    world = World(database, key, agent, chat)
    if user_id is None:
        world.add(User(id=owner, subject=f"test|{uuid4().hex}"))
    of = {"user_id": owner, "project_id": key.project_id}
    hosted = {"node_id": host.node_id, "epoch": host.epoch} if host else {}
    world.add(
        Project(id=key.project_id, user_id=owner, name="a project"),
        Workspace(**of, **hosted),
        UserAgent(id=agent, name="helper", config={"name": "helper"}, **of),
        ChatSession(id=chat, **of),
    )
    return world


def together(calls: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """Make all calls at the same moment, each on its own thread; an exception is a result, too."""
    gate = threading.Barrier(len(calls))

    def one(call: Callable[[], Result]) -> Result | Exception:
        gate.wait(10)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(one, calls))
