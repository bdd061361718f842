"""Two users with a row in every table."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, insert, select

from models import (
    ApprovalGrant,
    ApprovalRequest,
    ChatSession,
    Message,
    Project,
    Run,
    Task,
    TaskTurn,
    TenantOwned,
    ToolCall,
    User,
    UserAgent,
    UserOrchestrator,
    Workspace,
    new_id,
    utc_now,
)
from models.base import Base
from models.statuses import ApprovalType, MessageRole, RunMode, RunStatus, TaskStatus, ToolCallStatus, ToolExecution
from models.tenancy import Database
from tests.support.rows import Rows, rows_of

ENTITIES: tuple[type[Any], ...] = tuple(
    mapper.class_ for mapper in Base.registry.mappers if issubclass(mapper.class_, TenantOwned)
)


@dataclass(frozen=True)
class Tenant:
    """A user with one row of everything."""

    user_id: UUID
    rows: dict[type[Any], Any]
    """Its rows by their class, detached."""
    word: str
    """Stands in texts of its rows and nowhere else."""
    database: Database

    def key(self, entity: type[Any]) -> Any:
        """Return the primary key of its row."""
        row = self.rows[entity]
        return (row.user_id, row.project_id) if entity is Workspace else row.id

    def everything(self) -> Rows:
        """Read all its rows past every criterion, the user's own included."""
        with self.database.system_session("a test looks at a user") as session:
            users = session.execute(select(User.subject, User.email).where(User.id == self.user_id))
            return rows_of(self.database, self.user_id) | {"users": [tuple(row) for row in users]}


def settle(database: Database) -> Tenant:
    """Make a user and its rows, through the tenant's own session."""
    user_id, word = uuid4(), f"word-{uuid4().hex}"
    with database.user_directory() as session:
        session.execute(insert(User).values(id=user_id, subject=word, created_at=utc_now()))
        session.commit()
    project, agent, chat, run, task, call, grant = (new_id() for _ in range(7))
    placed = {"project_id": project}
    within = {**placed, "session_id": chat}
    rows: list[list[Any]] = [
        [Project(id=project, name=word, is_default=True)],
        [
            Workspace(user_id=user_id, project_id=project, settings={"word": word}),
            UserAgent(id=agent, name="helper", config={"word": word}, **placed),
            UserOrchestrator(id=new_id(), config={"word": word}, **placed),
            ChatSession(id=chat, title=word, **placed),
        ],
        [Run(id=run, mode=RunMode.DIRECT, status=RunStatus.RUNNING, usage={"word": word}, **within)],
        [
            Message(
                id=new_id(),
                project_id=project,
                session_id=chat,
                run_id=run,
                role=MessageRole.USER,
                content=word,
                agent_id=agent,
            ),
            Task(
                id=task,
                run_id=run,
                agent_id=agent,
                agent_name="helper",
                agent_version=1,
                status=TaskStatus.RUNNING,
                result=word,
                **within,
            ),
        ],
        [
            TaskTurn(id=new_id(), task_id=task, number=1, said=word, usage={}),
            ApprovalGrant(
                id=grant,
                run_id=run,
                tool=word,
                risk="high",
                expires_at=utc_now() + timedelta(seconds=300),
                **within,
            ),
        ],
        [
            ToolCall(
                id=call,
                run_id=run,
                task_id=task,
                agent_id=agent,
                agent_name="helper",
                call_id="1",
                turn=1,
                position=0,
                execution=ToolExecution.SERVER,
                tool="read_file",
                arguments={"word": word},
                digest="0",
                risk="low",
                grant_id=grant,
                status=ToolCallStatus.RUNNING,
                **within,
            ),
        ],
        [
            ApprovalRequest(
                id=new_id(),
                run_id=run,
                task_id=task,
                tool_call_id=call,
                type=ApprovalType.TOOL,
                payload={"word": word},
                digest="0",
                timeout=300,
                expires_at=utc_now() + timedelta(seconds=300),
                **within,
            ),
        ],
    ]
    with database.tenant_session(user_id) as session:
        for layer in rows:
            session.add_all(layer)
            session.flush()
        session.commit()
    return Tenant(user_id, {type(row): row for layer in rows for row in layer}, word, database)


def remove(tenant: Tenant) -> None:
    """Remove a user and everything of it."""
    with tenant.database.system_session("a test tidies up") as session:
        session.execute(delete(User).where(User.id == tenant.user_id))
        session.commit()


@pytest.fixture(scope="module")
def other(database: Database) -> Iterator[Tenant]:
    """The user whom nobody may reach; tests leave it as it is."""
    tenant = settle(database)
    yield tenant
    remove(tenant)


@pytest.fixture(scope="module")
def reader(database: Database) -> Iterator[Tenant]:
    """The user whose session it is, in tests that only read."""
    tenant = settle(database)
    yield tenant
    remove(tenant)


@pytest.fixture
def writer(database: Database) -> Iterator[Tenant]:
    """The user whose session it is, in tests that may change it."""
    tenant = settle(database)
    yield tenant
    remove(tenant)


class _Kept:
    """A user that is made anew whenever a test did not leave it as it was."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.tenant = settle(database)
        self._rows = self.tenant.everything()

    def restore(self) -> None:
        if self.tenant.everything() != self._rows:
            remove(self.tenant)
            self.tenant = settle(self._database)
            self._rows = self.tenant.everything()


@pytest.fixture(scope="module")
def kept_victim(database: Database) -> Iterator[_Kept]:
    kept = _Kept(database)
    yield kept
    remove(kept.tenant)


@pytest.fixture(scope="module")
def kept_attacker(database: Database) -> Iterator[_Kept]:
    kept = _Kept(database)
    yield kept
    remove(kept.tenant)


@pytest.fixture
def victim(kept_victim: _Kept) -> Iterator[Tenant]:
    """A user whom a test tries to reach."""
    yield kept_victim.tenant
    kept_victim.restore()


@pytest.fixture
def attacker(kept_attacker: _Kept) -> Iterator[Tenant]:
    """The user who tries."""
    yield kept_attacker.tenant
    kept_attacker.restore()
