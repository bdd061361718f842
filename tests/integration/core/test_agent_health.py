"""An agent in error is ready again when its model is: by the next answer, or by a look-up when nobody asks it."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from bootstrap import redis_client
from models import UserAgent
from models.statuses import AgentStatus
from models.tenancy import Database
from settings import load_settings
from tests.integration.core.world import World, make_world
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.agent_health import AgentHealth, Attached
from workspace.claims import Claims
from workspace.errors import ModelFailure
from workspace.events import Usage
from workspace.leases import Leases
from workspace.llm import ModelClient, Probe
from workspace.runner import Failed, Final

pytestmark = pytest.mark.stack

WELL = Final(text="done", unsent=None, usage=Usage())
UNWELL = Failed(failure=ModelFailure("no such model"), usage=Usage())
SOON, NEVER = 0.01, 3_600.0


@pytest.fixture(scope="module")
def model() -> Iterator[ModelClient]:
    client = ModelClient(load_settings())
    yield client
    client.close()


@pytest.fixture
def name() -> str:
    """The name of a model that no other test uses."""
    return f"model-{uuid4().hex}"


@pytest.fixture
def health(database: Database, model: ModelClient) -> AgentHealth:
    return AgentHealth(database, probe=model.probe, interval=NEVER)


def status(world: World, agent_id: UUID | None = None) -> tuple[AgentStatus, str | None]:
    with world.database.system_session("a test looks") as session:
        row = session.get_one(UserAgent, agent_id or world.agent_id)
        return row.status, row.status_reason


def recovered() -> float:
    return REGISTRY.get_sample_value("codelab_agents_recovered_total") or 0.0


def test_an_agent_whose_model_answers_again_is_ready(
    world: World, health: AgentHealth, standin: Standin, name: str
) -> None:
    standin.rules({"match": name, "in": "lookup", "fail": "503x2"})
    health.record(world.key, world.agent_id, UNWELL)
    assert status(world) == (AgentStatus.ERROR, "no such model")
    before = recovered()
    agents = [(world.key, world.agent_id, name)]
    assert [health.check(agents) for _ in range(4)] == [[], [], [world.agent_id], []]
    assert status(world) == (AgentStatus.READY, None)
    assert health.status(world.agent_id) == (AgentStatus.READY, None)
    assert recovered() - before == 1


@pytest.mark.parametrize("code", [401, 403, 404, 405, 429, 500, 501])
def test_anything_but_the_model_itself_leaves_it_in_error(
    world: World, health: AgentHealth, standin: Standin, name: str, code: int
) -> None:
    standin.rules({"match": name, "in": "lookup", "fail": code})
    health.record(world.key, world.agent_id, UNWELL)
    assert health.check([(world.key, world.agent_id, name)]) == []
    assert status(world) == (AgentStatus.ERROR, "no such model")
    assert health.record(world.key, world.agent_id, WELL) is True
    assert status(world) == (AgentStatus.READY, None)


def test_agents_that_are_well_are_not_looked_at(world: World, health: AgentHealth, standin: Standin, name: str) -> None:
    standin.rules({"match": name, "in": "lookup", "fail": "503x1"})
    assert health.check([(world.key, world.agent_id, name)]) == []
    health.record(world.key, world.agent_id, UNWELL)
    assert health.check([(world.key, world.agent_id, name)]) == []  # the one failure was still there


def test_a_model_is_looked_up_once_for_all_its_agents(
    world: World, health: AgentHealth, standin: Standin, name: str
) -> None:
    others = [world.agent(f"other{number}") for number in range(5)]
    standin.rules({"match": name, "in": "lookup", "fail": "503x1"})
    agents = [(world.key, agent_id, name) for agent_id in (world.agent_id, *others)]
    for key, agent_id, _ in agents:
        health.record(key, agent_id, UNWELL)
    assert health.check(agents) == []
    assert health.check(agents) == [agent_id for _, agent_id, _ in agents]


def test_each_agent_depends_on_its_own_model(world: World, health: AgentHealth, standin: Standin, name: str) -> None:
    other = world.agent("other")
    standin.rules({"match": f"{name}-gone", "in": "lookup", "fail": 500})
    for agent_id in (world.agent_id, other):
        health.record(world.key, agent_id, UNWELL)
    agents = [(world.key, world.agent_id, f"{name}-gone"), (world.key, other, name)]
    assert health.check(agents) == [other]
    assert status(world)[0] is AgentStatus.ERROR
    assert status(world, other)[0] is AgentStatus.READY


def test_a_failure_during_the_look_up_counts_more_than_the_look_up(world: World, name: str) -> None:
    def probe(_: str) -> Probe:
        assert health.record(world.key, world.agent_id, UNWELL) is False
        return Probe.ANSWERS

    health = AgentHealth(world.database, probe=probe, interval=NEVER)
    health.record(world.key, world.agent_id, UNWELL)
    assert health.check([(world.key, world.agent_id, name)]) == []
    assert status(world)[0] is AgentStatus.ERROR


def test_a_deleted_agent_does_not_recover(world: World, health: AgentHealth, name: str) -> None:
    gone = uuid4()
    health.learn(gone, AgentStatus.ERROR, "long ago")
    before = recovered()
    assert health.check([(world.key, gone, name)]) == []
    assert recovered() == before
    assert health.status(gone) == (AgentStatus.READY, None)


def test_a_stranger_cannot_be_written_under_another_tenants_key(
    world: World, database: Database, health: AgentHealth, name: str
) -> None:
    stranger = make_world(database)
    for key in (stranger.key, world.project().key):
        health.learn(world.agent_id, AgentStatus.ERROR, "no such model")
        health.check([(key, world.agent_id, name)])
        health.record(key, world.agent_id, UNWELL)
        assert status(world) == (AgentStatus.READY, None)


# -- several nodes over time -----------------------------------------------------------------------------------------


def attached(world: World, health: AgentHealth, name: str) -> Any:
    """What a node does before each check: read the rows and learn from them."""

    claims = Claims(world.database, Leases(redis_client(load_settings()), ttl=10), node_id="node")

    def look() -> list[Attached]:
        rows = claims.agents([world.agent_id])
        for row in rows:
            health.learn(row.agent_id, row.status, row.status_reason)
        return [Attached(row.key, row.agent_id, row.model or name) for row in rows]

    return look


def test_a_node_that_takes_the_agent_over_goes_on_with_what_the_row_says(
    world: World, database: Database, model: ModelClient, name: str
) -> None:
    first, second = (AgentHealth(database, probe=model.probe, interval=NEVER) for _ in range(2))
    first.record(world.key, world.agent_id, UNWELL)
    second.learn(world.agent_id, *status(world))
    assert second.check([(world.key, world.agent_id, name)]) == [world.agent_id]
    first.learn(world.agent_id, *status(world))  # it came back to the first one
    assert first.record(world.key, world.agent_id, UNWELL) is True
    assert status(world)[0] is AgentStatus.ERROR


def test_an_error_that_the_former_node_wrote_late_ends_with_the_next_check(
    world: World, database: Database, model: ModelClient, name: str
) -> None:
    former = AgentHealth(database, probe=model.probe, interval=NEVER)
    present = AgentHealth(database, probe=model.probe, interval=SOON)
    present.learn(world.agent_id, *status(world))
    former.record(world.key, world.agent_id, UNWELL)
    assert present.record(world.key, world.agent_id, WELL) is False  # it knows nothing of it
    assert status(world)[0] is AgentStatus.ERROR

    def mended() -> bool:
        present.tick(attached(world, present, name))
        return status(world)[0] is AgentStatus.READY

    eventually(mended, "the check of the present node")


def test_a_check_forgets_agents_that_went_elsewhere(world: World, database: Database, model: ModelClient) -> None:
    health = AgentHealth(database, probe=model.probe, interval=SOON)
    health.learn(world.agent_id, AgentStatus.ERROR, "no such model")

    def forgotten() -> bool:
        health.tick(list)
        return health.status(world.agent_id) == (AgentStatus.READY, None)

    eventually(forgotten, "the check")
    assert status(world)[0] is AgentStatus.READY


def test_outcomes_at_the_same_moment_leave_memory_and_row_alike(world: World, health: AgentHealth) -> None:
    gate = threading.Barrier(8)

    def work(number: int) -> None:
        gate.wait(10)
        for turn in range(10):
            health.record(world.key, world.agent_id, WELL if (number + turn) % 2 else UNWELL)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert status(world) == health.status(world.agent_id)
