"""The team and the configuration of a project are read as they are, and two who change it at once lose nothing."""

import pytest

from models.tenancy import Database
from orchestrator.config import OrchestratorConfig, PlanApproval
from orchestrator.plans.roster import RosterAgent
from orchestrator.team import TeamStore
from tests.integration.core.world import World, make_world, together
from workspace.errors import NotFound
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack


@pytest.fixture
def team(database: Database) -> TeamStore:
    return TeamStore(database, default_model="the-default")


def test_the_team_is_the_projects_agents_by_name_with_their_models(team: TeamStore, world: World) -> None:
    coder = world.agent("coder", model="big", capabilities=["Python", "tests"], tools=["read_file"])
    world.change_agent(coder, version=7)
    first, second = team.of(world.key)
    assert (first.agent_id, first.version, first.model) == (coder, 7, "big")
    assert first.roster == RosterAgent("coder", ("Python", "tests"), ("read_file",))
    assert (second.agent_id, second.model, second.roster) == (world.agent_id, "the-default", RosterAgent("helper"))


def test_nobody_of_another_project_or_user_is_in_the_team(team: TeamStore, world: World, database: Database) -> None:
    for other in (world.project(), make_world(database)):
        other.agent("stranger")
    assert [member.roster.name for member in team.of(world.key)] == ["helper"]
    assert team.of(WorkspaceKey(make_world(database).key.user_id, world.key.project_id)) == []


def test_before_anything_is_set_the_defaults_have_version_0(team: TeamStore, world: World) -> None:
    assert team.config(world.key) == (OrchestratorConfig(), 0)
    assert team.view(world.key).updated_at is None


def test_each_change_bumps_the_version_and_none_does_not(team: TeamStore, world: World) -> None:
    always = OrchestratorConfig(plan_approval=PlanApproval.ALWAYS, cost_limit_usd="0.50")
    versions = [team.replace(world.key, each).version for each in (always, always, OrchestratorConfig(), always)]
    assert versions == [1, 1, 2, 3]
    assert team.config(world.key) == (always, 3)
    assert team.view(world.key).updated_at is not None


def test_what_is_replaced_is_gone(team: TeamStore, world: World) -> None:
    team.replace(world.key, OrchestratorConfig(instructions="Be quick."))
    team.replace(world.key, OrchestratorConfig(max_tasks=3))
    assert team.config(world.key) == (OrchestratorConfig(max_tasks=3), 2)


def test_a_config_is_its_projects_own(team: TeamStore, world: World, database: Database) -> None:
    others = world.project(), make_world(database)
    team.replace(world.key, OrchestratorConfig(instructions="Mine."))
    assert [team.config(other.key) for other in others] == [(OrchestratorConfig(), 0)] * 2
    foreign = WorkspaceKey(others[1].key.user_id, world.key.project_id)
    assert team.config(foreign) == (OrchestratorConfig(), 0)
    with pytest.raises(NotFound):
        team.replace(foreign, OrchestratorConfig(instructions="Taken over."))
    assert team.config(world.key)[0].instructions == "Mine."


def test_of_many_who_are_the_first_at_once_each_counts(team: TeamStore, world: World) -> None:
    configs = [OrchestratorConfig(max_tasks=number) for number in range(1, 9)]
    found = together([lambda each=each: team.replace(world.key, each) for each in configs])
    assert sorted(each.version for each in found) == list(range(1, 9))  # type: ignore[union-attr]
    assert {each.config for each in found} == set(configs)  # type: ignore[union-attr]
    last = max(found, key=lambda each: each.version)  # type: ignore[union-attr]
    assert team.config(world.key)[0] == last.config  # type: ignore[union-attr]
