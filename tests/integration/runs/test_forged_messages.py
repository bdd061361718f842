"""A Celery message carries ids only, and a stranger's ids on a queue change nothing."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from celery import Celery
from kombu.entity import Exchange, Queue

from models.tenancy import Database
from tests.conftest import MakeUser
from tests.support.api import ApiClient
from tests.support.rows import user_id
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack

Forge = Callable[..., None]


@pytest.fixture(scope="module")
def forge() -> Forge:
    """Publishes any message onto any queue, as somebody with the broker's password could."""
    app = Celery("forger", set_as_current=False)
    app.config_from_object("celeryconfig")

    def send(name: str, *args: object, queue: str, **options: object) -> None:
        app.send_task(name, args, queue=Queue(queue, Exchange(""), routing_key=queue), **options)

    return send


@pytest.fixture
def queue_of(database: Database) -> Callable[[ApiClient, str], str]:
    """Returns the name of an agent's queue in a user's default project."""

    def name(user: ApiClient, agent: str) -> str:
        (project,) = user.get("/my/projects/").json()["items"]
        return WorkspaceKey(user_id(database, user.subject), project["id"]).agent_queue(agent)

    return name


def test_a_task_on_another_agents_queue_is_not_started(
    make_user: MakeUser, forge: Forge, queue_of: Callable[[ApiClient, str], str], standin: Standin
) -> None:
    attacker, victim = make_user(), make_user()
    attacker.make_agent()
    attacker.answered(attacker.make_session()["id"], "[say=the queue is attached now]")
    agent = victim.make_agent(concurrency_limit=1)
    session = victim.make_session()["id"]
    running = victim.send(session, "[delay=1.5]")
    held = victim.send(session, "the second of the session waits")
    queued = victim.send(victim.make_session()["id"], "the second of the agent waits")
    for task in (held, queued):
        forge("codelab.run_agent_task", task["task_id"], queue=queue_of(attacker, "helper"))
        forge("codelab.run_agent_task", task["task_id"], queue="placement")
    attacker.answered(attacker.make_session()["id"], "[say=behind the forged ones]")
    assert victim.run(queued["run_id"])["tasks"][0]["status"] in {"queued"}
    assert victim.run(held["run_id"])["tasks"][0]["status"] == "held"
    for one in (running, held, queued):
        victim.wait_for_run(one)
    assert standin.witness(agent["id"]) == {"current": 0, "max": 1, "total": 3}


def test_a_second_message_of_a_settled_or_running_task_changes_nothing(
    user: ApiClient, forge: Forge, queue_of: Callable[[ApiClient, str], str], standin: Standin
) -> None:
    agent = user.make_agent()
    accepted = user.send(user.make_session()["id"], "[delay=0.5] [say=once]")
    queue = queue_of(user, "helper")
    for _ in range(3):
        forge("codelab.run_agent_task", accepted["task_id"], queue=queue)
    user.wait_for_run(accepted)
    forge("codelab.run_agent_task", accepted["task_id"], queue=queue)
    user.answered(user.make_session()["id"], "[say=after all of them]")
    assert standin.witness(agent["id"])["total"] == 2


def test_garbage_on_a_queue_stops_nobody(
    user: ApiClient, forge: Forge, queue_of: Callable[[ApiClient, str], str]
) -> None:
    user.make_agent()
    user.answered(user.make_session()["id"], "[say=attached]")
    queue = queue_of(user, "helper")
    forge("codelab.run_agent_task", str(uuid4()), queue=queue)
    forge("codelab.run_agent_task", "no uuid", queue=queue)
    forge("codelab.run_agent_task", queue=queue)
    forge("codelab.no_such_task", queue=queue)
    forge("codelab.place_workspace", "no", "uuids", queue="placement")
    forge("codelab.place_workspace", str(uuid4()), str(uuid4()), queue="placement")
    forge("codelab.sweep", queue=queue)
    user.answered(user.make_session()["id"], "[say=still here]")


def test_a_message_with_pickled_content_is_refused(
    user: ApiClient, forge: Forge, queue_of: Callable[[ApiClient, str], str]
) -> None:
    user.make_agent()
    user.answered(user.make_session()["id"], "[say=attached]")
    forge("codelab.run_agent_task", "x", queue=queue_of(user, "helper"), serializer="pickle")
    user.answered(user.make_session()["id"], "[say=still here]")


def test_a_stranger_cannot_move_a_workspace_that_a_living_node_hosts(
    user: ApiClient, forge: Forge, database: Database
) -> None:
    user.make_agent()
    session = user.make_session()["id"]
    user.answered(session, "[say=hosted]")
    owner = user_id(database, user.subject)
    (project,) = user.get("/my/projects/").json()["items"]
    before = _epoch(database, owner)
    forge("codelab.place_workspace", str(owner), project["id"], queue="placement")
    user.answered(session, "[say=behind it]")
    assert eventually(lambda: _epoch(database, owner), "the epoch") == before


def _epoch(database: Database, owner: object) -> int:
    from sqlalchemy import select

    from models import Workspace

    with database.system_session("a test reads an epoch") as session:
        return session.execute(select(Workspace.epoch).where(Workspace.user_id == owner)).scalar_one()
