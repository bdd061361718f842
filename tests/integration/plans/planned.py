"""Orchestrated runs in the rows, as the orchestrator writes them: their plans wait for their owner, or ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select

from models import ApprovalGrant, Base, Message, Run, Task, new_id, utc_now
from models.statuses import MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from orchestrator.plan_approvals import Approved, Declined, PlanApprovals
from orchestrator.plans.graph import PlanGraph
from orchestrator.viewing import plan_of
from tests.support.api import ApiClient
from tests.support.launches import planning_task
from tests.support.plans import view_of
from tests.support.rows import user_id
from workspace.ledger import Host
from workspace.names import CLOSING_ID, ORCHESTRATOR, PLANNING_ID, WorkspaceKey
from workspace.plans.view import PlanView

TIMEOUT = 300
REQUEST = "Look it up and write it down."
CHAIN = {"look": (), "check": ("look",), "write": ("check",)}

_approvals = PlanApprovals(timeout=TIMEOUT)


@dataclass(frozen=True)
class PlannedRun:
    """A run with a plan."""

    user: ApiClient
    database: Database
    key: WorkspaceKey
    session_id: UUID
    run_id: UUID
    task_id: UUID
    """The planning task's."""
    view: PlanView
    rows: list[Base] = field(default_factory=list)

    @property
    def row(self) -> Run:
        with self.database.system_session("a test looks") as session:
            return session.get_one(Run, self.run_id)

    def task(self, name: str = PLANNING_ID) -> Task:
        with self.database.system_session("a test looks") as session:
            return session.scalars(select(Task).where(Task.run_id == self.run_id, Task.plan_task_id == name)).one()

    def grants(self) -> Sequence[ApprovalGrant]:
        with self.database.system_session("a test looks") as session:
            return session.scalars(select(ApprovalGrant).where(ApprovalGrant.run_id == self.run_id)).all()

    def verdict(self) -> Approved | Declined | None:
        with self.database.tenant_session(self.key.user_id) as session:
            return _approvals.verdict(session, self.task_id)

    def ask(self, *reasons: str) -> str:
        """Ask the owner whether the plan may run; returns the approval's id."""
        task = planning_task(self.key, self.session_id, self.run_id, self.task_id, Host("node", 1))
        with self.database.tenant_session(self.key.user_id) as session:
            approval = _approvals.ask(session, task, self.view, reasons or ("It is complex.",))
            session.commit()
        return str(approval.id)


def planned(
    user: ApiClient,
    database: Database,
    graph: Mapping[str, Sequence[str]] | None = None,
    *,
    agents: Mapping[str, str] | None = None,
    tools: Sequence[str] = ("write_file",),
    session: str | None = None,
) -> PlannedRun:
    """Make a run whose plan is made and waits: its planning task is parked. Agents that are missing are made."""
    (project,) = user.get("/my/projects/").json()["items"]
    key = WorkspaceKey(user_id(database, user.subject), UUID(project["id"]))
    ids = {each["name"]: UUID(each["id"]) for each in user.get("agents/").json()["items"]}
    for name in {"helper", *(agents or {}).values()} - ids.keys():
        ids[name] = UUID(user.make_agent(name, tools=list(tools))["id"])
    session_id = UUID(session or user.make_session()["id"])
    run_id, task_id = new_id(), new_id()
    view = view_of(graph or CHAIN, agents, ids)
    place: dict[str, Any] = {"user_id": key.user_id, "project_id": key.project_id, "session_id": session_id}
    one = PlannedRun(user, database, key, session_id, run_id, task_id, view)
    add(
        database,
        Run(
            **place,
            id=run_id,
            mode=RunMode.ORCHESTRATED,
            status=RunStatus.WAITING,
            plan=view.model_dump(mode="json"),
        ),
        Message(**place, id=new_id(), run_id=run_id, role=MessageRole.USER, content=REQUEST),
        Task(
            **place,
            id=task_id,
            run_id=run_id,
            agent_name=ORCHESTRATOR,
            agent_version=0,
            plan_task_id=PLANNING_ID,
            status=TaskStatus.WAITING,
        ),
    )
    return one


def ended(one: PlannedRun, status: RunStatus, statuses: Mapping[str, TaskStatus]) -> None:
    """Write what a plan came to: the rows of its tasks, and the end of its run."""
    place = {"user_id": one.key.user_id, "project_id": one.key.project_id, "session_id": one.session_id}
    now = utc_now()
    ids = {task.id: task.task_id for task in one.view.tasks}
    order = PlanGraph.of(plan_of(one.view)).order
    tasks = {task.id: task for task in one.view.tasks}
    rows = [
        Task(
            **place,
            id=ids[name],
            run_id=one.run_id,
            agent_id=tasks[name].agent_id,
            agent_name=tasks[name].agent_name,
            agent_version=1,
            plan_task_id=name,
            instruction=tasks[name].instruction,
            depends_on=[ids[each] for each in tasks[name].depends_on],
            follows=[ids[each] for each in tasks[name].depends_on],
            status=statuses[name],
            result=f"Result of {name}." if statuses[name] is TaskStatus.COMPLETED else None,
            finished_at=now if statuses[name].is_final else None,
        )
        for name in order
    ]
    closing = Task(
        **place,
        id=new_id(),
        run_id=one.run_id,
        agent_name=ORCHESTRATOR,
        agent_version=0,
        plan_task_id=CLOSING_ID,
        depends_on=list(ids.values()),
        follows=[ids[order[-1]]],
        status=TaskStatus.COMPLETED if status.is_final else TaskStatus.PENDING,
        finished_at=now if status.is_final else None,
    )
    add(one.database, *rows, closing)
    with one.database.system_session("a test changes rows") as session:
        run = session.get_one(Run, one.run_id)
        run.status, run.finished_at = status, now if status.is_final else None
        planning = session.get_one(Task, one.task_id)
        planning.status, planning.finished_at = TaskStatus.COMPLETED, now
        session.commit()


def add(database: Database, *rows: Base) -> None:
    with database.system_session("a test makes rows") as session:
        for row in rows:
            session.add(row)
            session.flush()
        session.commit()
