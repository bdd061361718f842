"""A plan over RabbitMQ: its joins are chords there, too, and its orchestrator's queue is one like an agent's."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.integration.orchestrated.steps import Request, configure, replies, send
from tests.integration.rabbitmq.system import OwnNode, System
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.sweeping.plans import UNDER_WAY

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("node")]

GRAPH = {"a": [], "b": [], "join": ["a", "b"], "beside": ["a"], "last": ["join", "beside"]}


def moment(task: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(task[name])


def test_a_plan_with_joins_is_answered_in_its_order(user: ApiClient, standin: Standin, node: OwnNode) -> None:
    user.make_agent(concurrency_limit=3)
    configure(user, plan_approval="auto")
    session = user.make_session()["id"]
    request = Request(standin).plan(GRAPH)
    for task in GRAPH:
        request.work(task, say=f"result {task}")
    losses = node.losses()
    run = user.wait_for_run(send(user, session, request))
    tasks = {task["plan_task_id"]: task for task in run["tasks"]}
    assert {task["status"] for task in tasks.values()} == {"completed"}
    for name, needed in GRAPH.items():
        if not needed:
            continue
        waited = moment(tasks[name], "started_at") - max(moment(tasks[each], "finished_at") for each in needed)
        # Sent by its chord: the sweeper lets one be for so long.
        assert timedelta() <= waited < UNDER_WAY, f"{name} began {waited} after what it waits for"
    assert replies(user, session) == [("@orchestrator", "result last")]
    assert node.losses() == losses


def test_an_orchestrators_queue_is_deleted_with_its_project_in_the_middle_of_a_plan(
    system: System, user: ApiClient, standin: Standin, node: OwnNode
) -> None:
    project = user.make_project()["id"]
    inside = user.inside(project)
    agent = inside.make_agent(concurrency_limit=2)
    request = Request(standin).plan({"a": [], "b": [], "join": ["a", "b"]})
    for task in ("a", "b"):
        request.work(task, silent="60")
    send(inside, inside.make_session()["id"], request)
    eventually(lambda: standin.witness(agent["id"])["current"] == 2, "both tasks to be at work")
    assert any(name.startswith("orchestrator.") and name.endswith(project) for name in system.rabbitmq.queues())
    losses = node.losses()
    assert inside.delete(f"{inside.prefix}/").status_code == 204
    eventually(lambda: standin.witness(agent["id"])["current"] == 0, "the model calls to end", within=5)
    eventually(lambda: not any(project in name for name in system.rabbitmq.queues()), "its queues to be gone")
    assert node.losses() == losses
