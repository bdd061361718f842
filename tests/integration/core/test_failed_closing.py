"""A workspace that could not be closed, because the database went away in the middle, is hosted as before."""

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from bootstrap import redis_client
from models.database import build_database
from models.statuses import WorkspaceState
from models.tenancy import Database
from settings import load_settings
from tasks.admission import Admission
from tasks.agent_queues import AgentQueues
from tasks.request_desk import RequestDesk
from tasks.request_queues import RequestQueues
from tasks.sender import web_sender
from tests.integration.core.moves import accept
from tests.integration.core.world import World, make_world
from tests.support.proxy import Proxy, proxy
from workspace.agent_bus import AgentBus
from workspace.agent_cache import AgentCache
from workspace.agent_health import AgentHealth
from workspace.alerts import Alerts
from workspace.claims import Claims
from workspace.event_publisher import EventPublisher
from workspace.hosted_space import HostedSpace, HostServices
from workspace.leases import Leases
from workspace.llm import Probe
from workspace.memory.agent_memories import AgentMemories

pytestmark = pytest.mark.stack


@pytest.fixture
def wire(database: Database) -> Iterator[Proxy]:
    with proxy(database.engine.url.render_as_string(hide_password=False)) as running:
        yield running


@pytest.fixture
def free(database: Database) -> World:
    return make_world(database, host=None)


@pytest.fixture
def queues() -> AgentQueues:
    return AgentQueues(Admission(slots=8))


@pytest.fixture
def space(free: World, wire: Proxy, queues: AgentQueues) -> Iterator[HostedSpace]:
    """A workspace on a node that reaches its database by the wire."""
    there = urlsplit(wire.url)
    url = make_url(free.database.engine.url).set(host=there.hostname, port=there.port)
    settings = load_settings().model_copy(update={"database_url": url.render_as_string(hide_password=False)})
    client = redis_client(settings)
    app = web_sender(settings)
    wired = build_database(settings, application_name="closing-tests")
    alerts = Alerts(client, EventPublisher(client, buffer_size=10, buffer_ttl=10))
    memories = AgentMemories(settings, client)
    services = HostServices(
        claims=Claims(wired, Leases(client, ttl=10), node_id=f"closing-{uuid4().hex}"),
        consumers=queues,
        requests=RequestQueues(RequestDesk(memories, client, tenure_of=lambda _: None)),
        cache=AgentCache(size=10, ttl=60, client=client, alerts=alerts),
        health=AgentHealth(wired, probe=lambda _: Probe.UNKNOWN, interval=60),
        bus=AgentBus(app),
        alerts=alerts,
        memories=memories,
        check_memory=lambda _: None,
        recover=lambda _: 0,
        fence_after=8,
        grace=1,
    )
    yield HostedSpace(free.key, services)
    wired.close()
    client.close()
    app.close()


def test_it_takes_work_again_and_can_be_closed_later(
    free: World, wire: Proxy, space: HostedSpace, queues: AgentQueues
) -> None:
    assert space.open()
    accept(free)
    wire.cut()
    with pytest.raises(OperationalError):
        space.close("asked")
    wire.mend()
    space.attach_needed()
    assert [agent.agent_id for agent in queues.attached_to(free.key)] == [free.agent_id]
    assert space.close("asked")
    assert (free.workspace().state, free.workspace().node_id) == (WorkspaceState.CLEANED, None)
    assert queues.attached_to(free.key) == []


def test_no_work_begins_before_its_workspace_is_open(
    free: World, space: HostedSpace, queues: AgentQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have to be stopped for a failure that has nothing to do with it."""
    accept(free)
    attached: list[object] = []
    attach = queues.attach

    def look(*arguments: object) -> None:
        attached.append(free.workspace().state)
        attach(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(queues, "attach", look)
    assert space.open()
    assert attached == [WorkspaceState.INITIALIZED]
