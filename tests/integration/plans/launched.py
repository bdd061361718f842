"""Plans at work on the real nodes of a system: launched as the orchestrator's task does it, and looked at as rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import select

from models import Run, Task, Workspace
from models.statuses import TaskStatus
from models.tenancy import Database
from orchestrator.chords import Chords
from orchestrator.launching import Launching
from settings import Settings
from tasks.sender import web_sender
from tests.integration.runs.steps import key_of
from tests.support.api import ApiClient
from tests.support.launches import Wanted, plan_of, write_planned
from tests.support.plans import stored
from tests.support.waiting import eventually
from workspace.agent_bus import AgentBus
from workspace.broadcast import Broadcaster, Change
from workspace.event_publisher import EventPublisher
from workspace.names import CLOSING_ID, ORCHESTRATOR, WorkspaceKey
from workspace.usage import NO_USAGE

BROKEN = {TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED}


@dataclass(frozen=True)
class LaunchedRun:
    """A run whose plan is at work."""

    database: Database
    user: ApiClient
    key: WorkspaceKey
    id: UUID
    session: str
    agents: Mapping[str, Any]

    def tasks(self) -> dict[str, Task]:
        """Its tasks by their ids in the plan, in the order of the work; without that of planning."""
        with self.database.system_session("a test looks") as session:
            rows = session.scalars(select(Task).where(Task.run_id == self.id).order_by(Task.id)).all()
        return {row.plan_task_id or "": row for row in rows[1:]}

    def planned(self) -> dict[str, Task]:
        """Those that agents do."""
        return {name: task for name, task in self.tasks().items() if task.agent_name != ORCHESTRATOR}

    def statuses(self) -> dict[str, str]:
        return {name: task.status.value for name, task in self.planned().items()}

    def row(self) -> Run:
        with self.database.system_session("a test looks") as session:
            return session.get_one(Run, self.id)

    def settled(self, *, within: float = 60.0) -> dict[str, Task]:
        """Wait until all tasks of agents have ended; returns them."""

        def ended() -> dict[str, Task]:
            tasks = self.planned()
            return tasks if all(task.status.is_final for task in tasks.values()) else {}

        return eventually(ended, f"the end of the plan of run {self.id}", within=within, every=0.05)

    def becomes(self, name: str, status: TaskStatus, *, within: float = 30.0) -> Task:
        """Wait until a task has a status."""

        def found() -> Task | None:
            task = self.tasks()[name]
            return task if task.status is status else None

        return eventually(found, f"{name} to be {status}", within=within)

    def closing_is_due(self) -> None:
        """Hold the closing task to being next: all that it waits for has ended, and nothing ended it."""
        tasks = self.tasks()
        closing = tasks[CLOSING_ID]
        by_id = {task.id: task for task in tasks.values()}
        assert all(by_id[each].finished_at is not None for each in closing.follows)
        assert closing.status not in BROKEN, closing.status


def in_order(tasks: Mapping[str, Task]) -> None:
    """Hold tasks to having run once each, none before what it waits for had ended."""
    by_id = {task.id: task for task in tasks.values()}
    for name, task in tasks.items():
        assert task.attempts == 1, f"{name} was started {task.attempts} times"
        for each in task.follows:
            before = by_id[each]
            assert task.started_at is not None
            assert before.finished_at is not None
            assert before.finished_at <= task.started_at, f"{name} began before {before.plan_task_id} had ended"


@dataclass
class Launcher:
    """Launches plans in the workspaces of one system."""

    database: Database
    launching: Launching
    hosted: set[str] = field(default_factory=set)

    def launch(
        self, user: ApiClient, tasks: Mapping[str, Wanted], *, session: str | None = None, **agents: Mapping[str, Any]
    ) -> LaunchedRun:
        """Launch a plan; agents that are not given with their configs are made with a limit of 3."""
        names = sorted({task.agent for task in tasks.values()})
        there = {one["name"]: one for one in user.get("agents/", limit=100).json()["items"]}
        made = {
            name: there.get(name) or user.make_agent(name, **{"concurrency_limit": 3} | dict(agents.get(name, {})))
            for name in names
        }
        return self.launch_for(user, tasks, made, session or user.make_session()["id"])

    def launch_for(
        self, user: ApiClient, tasks: Mapping[str, Wanted], agents: Mapping[str, Any], session: str
    ) -> LaunchedRun:
        """Launch a plan for agents that there are, or were."""
        key = self._host(user, next(iter(agents)))
        plan = plan_of(tasks)
        view = stored(plan, {name: UUID(agent["id"]) for name, agent in agents.items()})
        planning = write_planned(self.database, key, UUID(session), view)
        assert self.launching.launch(planning, view, plan, NO_USAGE)
        return LaunchedRun(self.database, user, key, planning.run_id, session, agents)

    def _host(self, user: ApiClient, agent: str) -> WorkspaceKey:
        """See that the workspace is hosted, as it is where its planning task runs."""
        key = key_of(user, self.database)
        if user.subject not in self.hosted:
            user.request("POST", "workspace/")
            eventually(lambda: self.node_of(key), "a host", within=30)
            self.hosted.add(user.subject)
        return key

    def node_of(self, key: WorkspaceKey) -> str | None:
        with self.database.system_session("a test looks") as session:
            row = session.get(Workspace, tuple(key))
            return row.node_id if row else None


@contextmanager
def launcher_of(settings: Settings, database: Database) -> Iterator[Launcher]:
    """The parts of a web process that launch plans."""
    app = web_sender(settings)
    app.conf.result_backend = settings.result_backend
    with redis.Redis.from_url(settings.redis_url) as client:
        broadcaster = Broadcaster(client)
        edges = Chords(app, AgentBus(app), needed=lambda key, agent: broadcaster.tell(Change.AGENT_NEEDED, key, agent))
        publisher = EventPublisher(client, buffer_size=1_000, buffer_ttl=300)
        yield Launcher(database, Launching(database, edges, publisher))
    app.close()


def chain(*tasks: tuple[str, str], agent: str = "worker") -> dict[str, Wanted]:
    """Tasks one after the other: their ids, and what their agent is told."""
    found: dict[str, Wanted] = {}
    before: Sequence[str] = ()
    for name, instruction in tasks:
        found[name] = Wanted(agent, instruction, before)
        before = (name,)
    return found
