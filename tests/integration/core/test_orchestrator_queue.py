"""The orchestrator's queue: messages without a target enter it like an agent's, and its host consumes it like one."""

from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import delete

from bootstrap import build_node, build_web
from models import Project, UserAgent
from models.statuses import HeldReason, MessageRole, RunMode, RunStatus, TaskStatus
from models.tenancy import Database
from settings import load_settings
from tasks.node import Node
from tasks.sender import web_sender
from tests.integration.core.world import PLENTY, World, make_world, together
from workspace.errors import AgentQueueFull, InvalidInput, NotFound
from workspace.idempotency import Repeat, Repeated
from workspace.intake import Accepted, Intake, NewMessage
from workspace.ledger import HeldBack, StartedTask
from workspace.names import ORCHESTRATOR, ORCHESTRATOR_LIMIT, PLANNING_ID
from workspace.usage import NO_USAGE
from workspace.user_cap import UserCap

pytestmark = pytest.mark.stack


def accept(world: World, *, queue_limit: int = PLENTY, cap: int = PLENTY) -> Accepted:
    """Accept a message without a target in a session of its own."""
    return world.accept(world.session(), agent=None, intake=world.intake(queue_limit=queue_limit, cap=cap))


def start(world: World, accepted: Accepted, *, cap: int = PLENTY) -> StartedTask | HeldBack | None:
    return world.try_to_start(accepted.task_id, agent_id=world.key.project_id, cap=cap)


# -- coming in ---------------------------------------------------------------------------------------------------


def test_a_message_without_a_target_becomes_a_run_with_one_task_that_plans(world: World) -> None:
    accepted = world.accept(agent=None)
    run, (task,) = world.run(accepted.run_id), world.tasks()
    assert (run.mode, run.status, run.plan) == (RunMode.ORCHESTRATED, RunStatus.PLANNING, None)
    assert (task.plan_task_id, task.agent_id, task.agent_name) == (PLANNING_ID, None, ORCHESTRATOR)
    assert task.agent_version == 0
    assert (task.status, task.depends_on, task.follows) == (TaskStatus.QUEUED, [], [])
    assert task.sent_at is not None
    (message,) = world.messages()
    assert (message.role, message.run_id) == (MessageRole.USER, run.id)


def test_a_project_without_agents_refuses_it_and_keeps_nothing(world: World) -> None:
    with world.database.tenant_session(world.key.user_id) as session:
        session.execute(delete(UserAgent).execution_options(synchronize_session=False))
        session.commit()
    elsewhere = world.project()
    with pytest.raises(InvalidInput):
        world.accept(agent=None)
    assert (world.tasks(), world.messages()) == ([], [])
    accept(elsewhere)


def test_a_session_of_another_project_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.accept(world.project().session_id, agent=None)


def test_of_many_at_once_in_many_sessions_exactly_the_limit_is_accepted(world: World) -> None:
    for _ in range(3):
        world.accept(world.session())  # the agent's own queue is another one
        accept(world.project())
    results = together([partial(accept, world, queue_limit=5) for _ in range(12)])
    accepted = [one for one in results if isinstance(one, Accepted)]
    assert sorted(one.queue_position for one in accepted) == list(range(5))
    refused = [one for one in results if isinstance(one, AgentQueueFull)]
    assert (len(refused), {one.queued for one in refused}) == (7, {5})


def test_it_is_held_behind_its_session_and_by_the_users_cap(world: World) -> None:
    direct = world.accept()
    behind = world.accept(agent=None)
    assert (behind.status, behind.held_reason) == (TaskStatus.HELD, HeldReason.SESSION)
    started = world.start(direct)
    assert accept(world, cap=1).held_reason is HeldReason.USER_CAP
    settled = world.ledger().complete(started, "done", usage=NO_USAGE)
    assert settled is not None
    assert settled.next_task is not None
    assert (settled.next_task.id, settled.next_task.agent_name) == (behind.task_id, ORCHESTRATOR)


def test_it_is_found_again_under_its_key_with_the_way_it_is_answered(world: World) -> None:
    message = NewMessage(
        session_id=world.session_id, content="hello", agent_name=None, repeat=Repeat.of(uuid4().hex, "hello")
    )
    intake = Intake(world.database, queue_limit=1, user_task_cap=PLENTY)
    first = intake.accept(world.key, message)
    assert isinstance(first, Accepted)
    again = intake.accept(world.key, message)
    assert again == Repeated(first.receipt, first.message_id, first.run_id, first.task_id)
    assert first.receipt["mode"] == RunMode.ORCHESTRATED


# -- being served ------------------------------------------------------------------------------------------------


def test_it_starts_from_its_own_queue_only(world: World) -> None:
    accepted = accept(world)
    assert world.try_to_start(accepted.task_id, agent_id=world.agent_id) is None
    assert isinstance(start(world, accepted), StartedTask)


def test_the_users_cap_lets_as_many_go_as_each_orchestrator_has_slots(world: World) -> None:
    other = world.project()
    busy = world.start(world.accept(world.session()))
    held = [accept(each, cap=1) for each in (world, world, world, other)]
    assert {one.held_reason for one in held} == {HeldReason.USER_CAP}
    assert world.ledger().complete(busy, "done", usage=NO_USAGE) is not None
    released = {task.id: task for task in UserCap(world.database, cap=PLENTY).release(world.key.user_id)}
    assert set(released) == {held[0].task_id, held[1].task_id, held[3].task_id}
    assert ORCHESTRATOR_LIMIT == 2
    assert (released[held[3].task_id].key, released[held[3].task_id].agent_name) == (other.key, ORCHESTRATOR)


@pytest.fixture
def node(database: Database) -> Node:
    """A node without a worker, whose threads do not run."""
    url = database.engine.url.render_as_string(hide_password=False)
    settings = load_settings().model_copy(update={"database_url": url})
    return build_node(web_sender(settings), name=f"orchestrating-{uuid4().hex[:8]}", settings=settings)


def attached(node: Node) -> list[tuple[str, int]]:
    return [(agent.agent_name, agent.limit) for agent in node.queues.attached()]


def test_its_host_consumes_its_queue_when_there_is_work(database: Database, node: Node) -> None:
    world = make_world(database, host=None)
    accept(world)
    assert node.host(world.key)
    assert attached(node) == [(ORCHESTRATOR, ORCHESTRATOR_LIMIT)]
    assert node.queues.find(f"orchestrator.user{world.key.user_id}.project{world.key.project_id}") is not None


def test_its_host_is_told_of_it_by_its_projects_id(database: Database, node: Node) -> None:
    world = make_world(database, host=None)
    assert node.host(world.key)
    host = node.manager.get_or_create(world.key).host
    assert host is not None
    host.attach_by_id(make_world(database).key.project_id)  # of somebody else
    assert attached(node) == []
    host.attach_by_id(world.key.project_id)
    assert attached(node) == [(ORCHESTRATOR, ORCHESTRATOR_LIMIT)]


def test_a_comparison_with_the_rows_leaves_it_until_its_project_is_gone(database: Database, node: Node) -> None:
    world = make_world(database, host=None)
    accept(world)
    assert node.host(world.key)
    node.reconcile()
    assert attached(node) == [(ORCHESTRATOR, ORCHESTRATOR_LIMIT)]
    with database.tenant_session(world.key.user_id) as session:
        session.delete(session.get_one(Project, world.key.project_id))
        session.commit()
    node.reconcile()
    assert attached(node) == []


def test_what_it_has_to_do_is_seen_among_the_work_of_its_workspace(world: World, database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    web = build_web(load_settings().model_copy(update={"database_url": url}))
    assert web.workspaces.get(world.key).facts.orchestrator is None
    first = accept(world)
    accept(world)
    assert isinstance(start(world, first), StartedTask)
    facts = web.workspaces.get(world.key).facts
    assert facts.orchestrator is not None
    assert (facts.orchestrator.running, facts.orchestrator.queued, facts.running) == (1, 1, 1)
    assert [agent.name for agent in facts.agents] == ["helper"]
