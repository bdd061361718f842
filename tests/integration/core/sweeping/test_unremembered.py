"""What no node remembers finds a host, and is given up after a day."""

import pytest

from tests.integration.core.sweeping.parts import USAGE, Deployment, Parts, ago
from tests.integration.core.world import World
from workspace.remembering import GIVE_UP_AFTER, Remembering
from workspace.sweeping.unremembered import PLACE_AFTER, Unremembered

pytestmark = pytest.mark.stack

LONG_AGO = PLACE_AFTER.total_seconds() + 1
TOO_OLD = GIVE_UP_AFTER.total_seconds() + 1


@pytest.fixture
def unremembered(deployment: Deployment, parts: Parts) -> Unremembered:
    return Unremembered(deployment.database, parts)  # type: ignore[arg-type]


def ended(world: World, *, seconds: float) -> object:
    """A task that was answered so long ago; returns its id."""
    task = world.started()
    assert world.ledger().complete(task, "done", USAGE) is not None
    world.change_task(task.id, finished_at=ago(seconds))
    return task.id


def due(world: World) -> list[object]:
    """Return what is due of a world, under the host of all worlds."""
    return [each.task_id for each in Remembering(world.database).due("node", limit=10_000) if each.key == world.key]


def test_a_workspace_without_a_host_is_placed_for_what_is_due(
    world: World, unremembered: Unremembered, parts: Parts
) -> None:
    ended(world, seconds=LONG_AGO)
    unremembered.place()
    assert world.key not in parts.placed, "its host sees to it"
    world.change_workspace(node_id=None)
    unremembered.place()
    assert parts.placed.count(world.key) == 1


def test_a_workspace_that_was_closed_a_moment_ago_is_left_alone(
    world: World, unremembered: Unremembered, parts: Parts
) -> None:
    ended(world, seconds=1)
    world.change_workspace(node_id=None)
    unremembered.place()
    assert world.key not in parts.placed


def test_what_could_not_be_stored_for_a_day_is_given_up(world: World, unremembered: Unremembered) -> None:
    old, young = ended(world, seconds=TOO_OLD), ended(world, seconds=TOO_OLD - 60)
    assert due(world) == [old, young]
    assert unremembered.give_up() >= 1
    assert due(world) == [young]


def test_what_is_forgotten_is_no_longer_due(world: World) -> None:
    remembering = Remembering(world.database)
    ended(world, seconds=5)
    assert remembering.forget(world.key, agent_id=world.key.user_id) == 0
    assert remembering.forget(world.key, session_id=world.session()) == 0
    assert remembering.forget(world.key, agent_id=world.agent_id, session_id=world.session_id) == 1
    assert due(world) == []
    assert remembering.forget(world.key) == 0


def test_a_run_that_is_forgotten_is_not_remembered_when_it_ends(world: World) -> None:
    task = world.started()
    other = world.started(world.session())
    assert Remembering(world.database).forget(world.key, run_id=task.run_id) == 1
    assert Remembering(world.database).forget(world.key) == 0, "the other one has not ended"
    for each in (task, other):
        assert world.ledger().complete(each, "done", USAGE) is not None
    assert due(world) == [other.id]


def test_nobody_forgets_what_is_due_to_another_user(deployment: Deployment, world: World) -> None:
    ended(world, seconds=5)
    stranger = deployment.world()
    assert Remembering(world.database).forget(stranger.key, agent_id=world.agent_id) == 0
    assert Remembering(world.database).forget(stranger.key._replace(project_id=world.key.project_id)) == 0
    assert len(due(world)) == 1
