"""More agents on one node than RabbitMQ has channels for on one connection."""

from uuid import UUID

import pytest
import redis

from models import UserAgent, Workspace, new_id
from models.tenancy import Database
from tasks.channel_pool import CHANNELS_PER_CONNECTION
from tests.integration.rabbitmq.system import OwnNode, System
from tests.support.api import ApiClient
from tests.support.rows import user_id
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.broadcast import Broadcaster, Change
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack

AGENTS = CHANNELS_PER_CONNECTION + 60
ATTACHING = 120.0
LAST = f"agent_{AGENTS - 1}"


@pytest.fixture(scope="module")
def crowd(system: System, database: Database, node: OwnNode) -> tuple[ApiClient, dict[str, UUID]]:
    """A user with that many agents, all of them attached to the node."""
    user = system.user()
    user.make_agent()
    user.answered(user.make_session()["id"], "[say=hosted now]")
    owner = user_id(database, user.subject)
    with database.tenant_session(owner) as session:
        project = session.query(Workspace).one().project_id
        agents = {f"agent_{number}": new_id() for number in range(AGENTS)}
        session.add_all(
            UserAgent(id=id_, user_id=owner, project_id=project, name=name, config={"name": name})
            for name, id_ in agents.items()
        )
        session.commit()
    with redis.Redis.from_url(system.options["REDIS_URL"]) as client:
        for id_ in agents.values():
            Broadcaster(client).tell(Change.AGENT_NEEDED, WorkspaceKey(owner, project), id_)
    _wait_for_channels(system)
    return user, agents


def _wait_for_channels(system: System) -> dict[str, int]:
    def all_open() -> dict[str, int] | None:
        found = system.rabbitmq.connections()
        return found if sum(found.values()) >= AGENTS else None

    return eventually(all_open, "a channel for each agent", within=ATTACHING, every=0.5)


def test_channels_are_spread_over_connections(system: System, crowd: tuple[ApiClient, dict[str, UUID]]) -> None:
    counts = sorted(system.rabbitmq.connections().values())
    assert CHANNELS_PER_CONNECTION <= counts[-1] < CHANNELS_PER_CONNECTION + 20, "Celery has some of its own"
    assert AGENTS - CHANNELS_PER_CONNECTION <= counts[-2] < AGENTS - CHANNELS_PER_CONNECTION + 20


@pytest.mark.parametrize("name", ["agent_0", LAST])
def test_an_agent_on_any_connection_keeps_its_limit(
    crowd: tuple[ApiClient, dict[str, UUID]], standin: Standin, name: str
) -> None:
    user, agents = crowd
    user.put(f"agents/{agents[name]}/", {"name": name, "concurrency_limit": 2})
    accepted = [user.send(user.make_session()["id"], "[delay=0.4]", name) for _ in range(6)]
    for one in accepted:
        user.wait_for_run(one)
    assert standin.witness(str(agents[name])) == {"current": 0, "max": 2, "total": 6}


@pytest.mark.parametrize("which", ["the worker's own", "the further one"])
def test_the_loss_of_one_connection_keeps_every_limit_and_loses_nothing(
    system: System, crowd: tuple[ApiClient, dict[str, UUID]], standin: Standin, which: str
) -> None:
    user, agents = crowd
    before = {name: standin.witness(str(agents[name]))["total"] for name in ("agent_1", LAST)}
    for name in before:
        user.put(f"agents/{agents[name]}/", {"name": name, "concurrency_limit": 2})
    accepted = {name: [user.send(user.make_session()["id"], "[delay=2]", name) for _ in range(5)] for name in before}
    for name in before:
        eventually(lambda name=name: standin.witness(str(agents[name]))["current"] == 2, "both slots to be used")
    by_channels = sorted(system.rabbitmq.connections().items(), key=lambda item: item[1])
    system.rabbitmq.lose_connection(by_channels[-1 if which == "the worker's own" else -2][0])
    for name, messages in accepted.items():
        for one in messages:
            user.wait_for_run(one)
        seen = standin.witness(str(agents[name]))
        assert (seen["max"], seen["total"]) == (2, before[name] + 5)
    counts = sorted(_wait_for_channels(system).values())
    assert sum(counts[-2:]) < AGENTS + 40, "channels of the time before are still open"
