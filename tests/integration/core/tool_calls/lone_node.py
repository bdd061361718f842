"""A node without its Celery worker, and the web process beside it: all that works on tasks is real, over real stores,
real files and the stand-in model. Messages are kept until a test delivers them.
"""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import redis
from sqlalchemy import select, update

import bootstrap
from models import ApprovalRequest, Project, Task, TaskTurn, ToolCall, utc_now
from models.statuses import ApprovalStatus, CancelReason, Decision, ToolExecution
from models.tenancy import Database
from settings import Settings
from tests.integration.core.world import HOST, World
from tests.support.reachable import reachable
from wiring.core import build_core
from workspace.intake import Accepted
from workspace.interruptible import StopSignal
from workspace.ledger import Host
from workspace.llm import ModelClient
from workspace.memory.agent_memories import AgentMemories
from workspace.names import TaskName
from workspace.sweeping import Sweeper
from workspace.task_run import TaskRun
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.client_calls import ClientAnswer, client_result
from workspace.tools.executor import ToolExecutor
from workspace.tools.registry import Tool, ToolRegistry

TOOLS = ("read_file", "write_file", "list_directory")


CLOSED = (Database, redis.Redis, ModelClient, AgentMemories)
"""What has connections of its own."""

Part = TypeVar("Part")


def _close(parts: object) -> None:
    for _, part in reachable(parts, beyond=CLOSED):
        if isinstance(part, CLOSED):
            part.close()


class Outgoing:
    """The sending half of a Celery app: keeps what goes out."""

    def __init__(self) -> None:
        self.tasks: list[UUID] = []

    def send_task(self, name: str, args: list[str], **options: Any) -> None:
        if name == TaskName.RUN_AGENT_TASK:
            self.tasks.append(UUID(args[0]))


class Slot:
    """One of an agent's slots."""

    def __init__(self) -> None:
        self.stop = StopSignal()

    def is_alone(self) -> bool:
        return True


@dataclass
class LoneNode:
    """A node that hosts one workspace."""

    settings: Settings
    world: World
    events: redis.Redis
    node_database_url: str | None = None
    """Another way to the database for the node alone."""
    outgoing: Outgoing = field(default_factory=Outgoing)
    node: Any = None

    def __post_init__(self) -> None:
        self.web = build_core(self.settings, self.outgoing, application_name="lone-web", memories=None)
        self.world.change_agent(config={"name": "helper", "tools": list(TOOLS)})
        self.start_anew()

    def start_anew(self) -> None:
        """Be another process: whatever was not written down is forgotten."""
        url = self.node_database_url or self.settings.database_url
        settings = self.settings.model_copy(update={"database_url": url})
        self.close_node()
        self.node = bootstrap.build_node(self.outgoing, name="lone", settings=settings)
        self.task_run = self._part(TaskRun)
        self.sweeper = self._part(Sweeper)

    def _part(self, kind: type[Part]) -> Part:
        """Return the one part of the node that is of this type."""
        (found,) = [part for _, part in reachable(self.node, beyond=CLOSED) if isinstance(part, kind)]
        return found

    def close_node(self) -> None:
        _close(self.node)

    def close(self) -> None:
        """End both."""
        self.close_node()
        _close(self.web)

    def use_tools(self, *tools: Tool) -> None:
        """Let agents have these tools beside those of the deployment."""
        parts = self.task_run._tools
        registry = ToolRegistry([*CATALOGUE, *tools])
        limit = self.settings.tool_output_limit
        executor = ToolExecutor(registry, parts.executor._resources, output_limit=limit)
        self.task_run._tools = parts._replace(executor=executor)
        self.world.change_agent(config={"name": "helper", "tools": [*TOOLS, *(each.name for each in tools)]})

    # -- working ---------------------------------------------------------------------------------------------

    def say(self, content: str, session_id: UUID | None = None) -> Accepted:
        """Accept a message, whose task is not delivered yet."""
        accepted = self.world.accept(session_id, content)
        self.outgoing.tasks.append(accepted.task_id)
        return accepted

    def deliver(self, task_id: UUID, slot: Slot | None = None, host: Host = HOST) -> bool:
        """Let the node have a message of a task; returns when it has let go of it."""
        return self.task_run.execute(task_id, self.world.key, self.world.agent_id, host, slot or Slot())

    def work(self) -> int:
        """Deliver what was sent, until nothing is left; returns how many there were."""
        delivered = 0
        while self.outgoing.tasks:
            self.deliver(self.outgoing.tasks.pop(0))
            delivered += 1
        return delivered

    def answered(self, content: str) -> Accepted:
        """Have a message worked on as far as that goes without anybody."""
        accepted = self.say(content)
        self.work()
        return accepted

    # -- the owner and the owner's client --------------------------------------------------------------------

    def use_client(self, execution: ToolExecution = ToolExecution.CLIENT) -> None:
        self.world._change(
            update(Project).where(Project.id == self.world.key.project_id).values(tool_execution=execution)
        )

    def decide(self, approval: UUID, decision: Decision = Decision.APPROVE) -> None:
        self.web.approvals.confirm(self.world.key, approval, decision)

    def answer(self, call: UUID, output: dict[str, Any] | None = None) -> ToolCall:
        result = client_result(output if output is not None else {"done": True}, None)
        return self.web.tool_calls.answer(self.world.key, call, ClientAnswer(result=result, digest=None))

    def change_call(self, call: UUID, **values: Any) -> None:
        self.world._change(update(ToolCall).where(ToolCall.id == call).values(**values))

    def expire_approvals(self) -> None:
        """Let the time be over of all that is open."""
        long_ago = utc_now() - timedelta(hours=1)
        mine = ApprovalRequest.user_id == self.world.key.user_id
        self.world._change(update(ApprovalRequest).where(mine).values(expires_at=long_ago))

    def sweep(self) -> None:
        """Do what the sweeper does; another sweep may be under way, which then does it."""
        self.sweeper.sweep()

    def cancel(self, run: UUID, reason: CancelReason = CancelReason.REQUESTED) -> None:
        """End a run. What works on it hears nothing: that message may be lost, or late."""
        services = self.web.services
        services.endings.carry_out(self.world.key, services.cancellation.cancel_run(self.world.key, run, reason))

    # -- looking ---------------------------------------------------------------------------------------------

    def calls(self) -> list[ToolCall]:
        """Every tool call, in the order of the model."""
        return self._all(select(ToolCall).order_by(ToolCall.task_id, ToolCall.turn, ToolCall.position), ToolCall)

    def call(self) -> ToolCall:
        (call,) = self.calls()
        return call

    def turns(self) -> list[TaskTurn]:
        return self._all(select(TaskTurn).order_by(TaskTurn.task_id, TaskTurn.number), TaskTurn)

    def approvals(self, status: ApprovalStatus | None = None) -> list[ApprovalRequest]:
        query = select(ApprovalRequest).order_by(ApprovalRequest.id)
        return self._all(query if status is None else query.where(ApprovalRequest.status == status), ApprovalRequest)

    def task(self) -> Task:
        (task,) = self.world.tasks()
        return task

    def _all(self, query: Any, kind: Any) -> list[Any]:
        with self.world.database.system_session("a test looks") as session:
            return list(session.scalars(query.where(kind.user_id == self.world.key.user_id)))

    def told(self, *types: str) -> list[dict[str, Any]]:
        """The events of the session, oldest first; those of some types, or all."""
        stored = self.events.xrange(self.world.key.session_events(self.world.session_id))
        events = [json.loads(fields[b"e"]) for _, fields in stored]
        return [event for event in events if not types or event["event_type"] in types]

    def written(self, name: str) -> str | None:
        """What is in a file of the workspace; `None` if there is none."""
        found = list(self.settings.data_dir.rglob(name))
        return found[0].read_text() if found else None
