"""Plans to launch: made of a graph, and written as the orchestrator's own task does it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from models import Message, Run, Task, Workspace, new_id, utc_now
from models.statuses import MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from orchestrator.plans.plan import Plan
from workspace.ledger import Host, StartedTask
from workspace.names import ORCHESTRATOR, PLANNING_ID, WorkspaceKey
from workspace.plans.view import PlanView


@dataclass(frozen=True)
class Wanted:
    """A task that a plan is to have."""

    agent: str
    instruction: str = "Do it."
    after: Sequence[str] = ()


def plan_of(tasks: Mapping[str, Wanted]) -> Plan:
    """A plan with these tasks, by their ids."""
    return Plan.model_validate(
        {
            "rationale": "So it goes.",
            "tasks": [
                {
                    "id": name,
                    "agent": task.agent,
                    "instruction": task.instruction,
                    "depends_on": list(task.after),
                    "why_this_agent": "It can.",
                }
                for name, task in tasks.items()
            ],
        }
    )


def write_planned(
    database: Database, key: WorkspaceKey, session_id: UUID, view: PlanView, *, content: str = "Do all of it."
) -> StartedTask:
    """Write a run whose plan is made, with its planning task at work on the workspace's host."""
    of = {"user_id": key.user_id, "project_id": key.project_id, "session_id": session_id}
    run_id, task_id = new_id(), UUID(int=view.tasks[0].task_id.int - 1)
    with database.system_session("a test makes rows") as session:
        workspace = session.get_one(Workspace, tuple(key))
        assert workspace.node_id is not None, "the workspace is not hosted"
        host = Host(workspace.node_id, workspace.epoch)
        plan = view.model_dump(mode="json")
        session.add(Run(**of, id=run_id, mode=RunMode.ORCHESTRATED, status=RunStatus.PLANNING, plan=plan))
        session.flush()
        session.add(Message(**of, id=new_id(), run_id=run_id, role=MessageRole.USER, content=content))
        session.add(
            Task(
                **of,
                id=task_id,
                run_id=run_id,
                agent_id=None,
                agent_name=ORCHESTRATOR,
                agent_version=0,
                plan_task_id=PLANNING_ID,
                status=TaskStatus.RUNNING,
                node_id=host.node_id,
                epoch=host.epoch,
                attempts=1,
                started_at=utc_now(),
            )
        )
        session.commit()
    return planning_task(key, session_id, run_id, task_id, host)


def planning_task(key: WorkspaceKey, session_id: UUID, run_id: UUID, task_id: UUID, host: Host) -> StartedTask:
    """The planning task of a run as its node has it after the start."""
    return StartedTask(
        id=task_id,
        key=key,
        session_id=session_id,
        run_id=run_id,
        agent_id=key.project_id,
        agent_name=ORCHESTRATOR,
        agent_version=0,
        host=host,
        attempt=1,
        started_at=utc_now(),
        ran_seconds=0.0,
        recalled=None,
        newest_messages=[],
        plan_task_id=PLANNING_ID,
    )


def random_tasks(count: int, seed: int, agents: Sequence[str]) -> dict[str, Wanted]:
    """Tasks of a random graph."""
    chance = random.Random(seed)
    tasks: dict[str, Wanted] = {}
    for number in range(count):
        before = list(tasks)
        after = chance.sample(before, min(len(before), chance.randint(0, 3)))
        says = f"[delay={chance.uniform(0, 0.2):.2f}] [say=result of t{number}]"
        tasks[f"t{number}"] = Wanted(chance.choice(agents), says, after)
    return tasks
