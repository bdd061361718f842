"""A plan is found again for the very same request to the very same team, and for nothing else."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.statuses import MessageRole
from orchestrator.planner.cache import digest_of
from orchestrator.planner.prompt import planning_messages
from orchestrator.planning import PlanningRequest
from tests.unit.orchestrator.planning_requests import MESSAGE, member, planning_request, said
from workspace.names import WorkspaceKey

FIRST, SECOND = uuid4(), uuid4()
TEAM = (member("coder", agent_id=FIRST), member("writer", agent_id=SECOND))


def digest(request: PlanningRequest, model: str = "m") -> str:
    return digest_of(request, planning_messages(request), model)


SAME = digest(planning_request(team=TEAM))


def test_the_same_request_has_the_same_digest_whoever_runs_it_and_when() -> None:
    assert digest(planning_request(team=TEAM, run_id=uuid4())) == SAME
    assert digest(planning_request(team=[*TEAM])) == SAME


@pytest.mark.parametrize(
    "changes",
    [
        {"config_version": 2},
        {"temperature": 0.5},
        {"instructions": "Be quick."},
        {"max_tasks": 7},
        {"team": TEAM[:1]},
        {"team": (member("coder", agent_id=FIRST, version=2), TEAM[1])},
        {"team": (member("coder", agent_id=uuid4()), TEAM[1])},
        {"team": (member("coder", "other work", agent_id=FIRST), TEAM[1])},
    ],
    ids=str,
)
def test_what_a_plan_comes_from_is_in_the_digest(changes: dict[str, Any]) -> None:
    assert digest(planning_request(**{"team": TEAM, **changes})) != SAME


def test_another_message_or_model_has_another_digest() -> None:
    assert digest(planning_request("Something else.", team=TEAM)) != SAME
    assert digest(planning_request(team=TEAM), model="other") != SAME


def test_the_whole_conversation_is_in_the_digest() -> None:
    def after(*texts: str) -> str:
        return digest(planning_request(MESSAGE, *(said(MessageRole.USER, each) for each in texts), team=TEAM))

    assert after("one", "two") == after("one", "two")
    assert len({SAME, after("one"), after("one", "two"), after("two", "one"), after("onetwo")}) == 5


def test_who_said_something_is_in_the_digest() -> None:
    mine, its = (
        digest(planning_request(MESSAGE, said(role, "Yes."), team=TEAM))
        for role in (MessageRole.USER, MessageRole.ASSISTANT)
    )
    assert mine != its


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_two_conversations_have_one_digest_only_if_they_are_one(one: list[str], other: list[str]) -> None:
    digests = [
        digest(planning_request(texts[-1], *(said(MessageRole.USER, each) for each in texts[:-1]), team=TEAM))
        for texts in (one, other)
    ]
    assert (digests[0] == digests[1]) == (one == other)


def test_plans_of_two_tenants_have_two_keys() -> None:
    keys = [WorkspaceKey(UUID(int=user), UUID(int=project)) for user in (1, 2) for project in (1, 2)]
    names = [key.plan(SAME) for key in keys]
    assert len(set(names)) == 4
    assert all(name.startswith(key.prefix) for key, name in zip(keys, names, strict=True))
