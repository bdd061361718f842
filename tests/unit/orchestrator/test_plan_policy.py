"""When the owner of a plan is asked whether it may run."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from models import new_id
from orchestrator.config import OrchestratorConfig, PlanApproval
from orchestrator.plan_approvals import PlanApprovals, plan_digest
from orchestrator.planning import TeamMember
from orchestrator.plans.roster import RosterAgent
from tests.support.plans import view_of
from workspace.plans.view import PlanView, Range
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.risk import RiskLevel, get_risk_level, highest_risk

SMALL = {"one": (), "two": ("one",), "three": ("two",)}


def member(name: str, *tools: str) -> TeamMember:
    return TeamMember(agent_id=new_id(), version=1, model="m", roster=RosterAgent(name, tools=tools))


def reasons(
    view: PlanView, *, ask: PlanApproval = PlanApproval.COMPLEX, limit: str | None = None, tools: Sequence[str] = ()
) -> tuple[str, ...]:
    config = OrchestratorConfig(plan_approval=ask, cost_limit_usd=Decimal(limit) if limit else None)
    return PlanApprovals(timeout=300).reasons(config, view, [member("helper", *tools), member("other", *WRITES)])


WRITES = ("write_file",)


def test_a_plan_of_up_to_three_tasks_that_only_reads_needs_no_yes() -> None:
    assert reasons(view_of(SMALL), tools=["read_file", "list_directory", "search_context", "remember"]) == ()


def test_a_plan_of_more_than_three_tasks_is_asked_about() -> None:
    assert reasons(view_of({**SMALL, "four": ()})) == ("The plan has 4 tasks.",)


@pytest.mark.parametrize("tool", ["write_file", "execute_command", "a_tool_of_tomorrow"])
def test_a_tool_that_can_be_of_high_risk_is_asked_about(tool: str) -> None:
    (reason,) = reasons(view_of(SMALL), tools=["read_file", tool])

    assert reason == f"Agent helper may use {tool}, which can be of high risk."


def test_what_agents_outside_of_the_plan_may_do_does_not_count() -> None:
    assert reasons(view_of(SMALL)) == ()  # `other`, which may write, has no task


def test_a_cost_over_the_limit_is_asked_about_and_one_at_the_limit_is_not() -> None:
    view = view_of(SMALL).model_copy(update={"estimated_cost": Range(p50=0.01, p90=0.1)})

    assert reasons(view, limit="0.1") == ()
    (reason,) = reasons(view, limit="0.09")
    assert "0.1 US dollars, over the limit of 0.09" in reason


def test_an_unknown_cost_is_asked_about_where_there_is_a_limit() -> None:
    view = view_of(SMALL).model_copy(update={"estimated_cost": None})

    assert reasons(view) == ()
    (reason,) = reasons(view, limit="0.5")
    assert "not known" in reason


def test_every_reason_is_told() -> None:
    view = view_of({**SMALL, "four": ()}).model_copy(update={"estimated_cost": None})

    assert len(reasons(view, limit="1", tools=WRITES)) == 3


def test_always_asks_and_auto_never_does() -> None:
    harmless, complex_one = view_of({"one": ()}), view_of({**SMALL, "four": ()})

    assert len(reasons(harmless, ask=PlanApproval.ALWAYS)) == 1
    assert reasons(complex_one, ask=PlanApproval.AUTO, tools=WRITES, limit="0.000001") == ()


def test_an_approval_is_bound_to_every_letter_of_a_plan() -> None:
    view = view_of(SMALL)
    first, *rest = view.tasks
    changed = view.model_copy(update={"tasks": (first.model_copy(update={"instruction": "Else."}), *rest)})

    assert plan_digest(view) == plan_digest(PlanView.model_validate(view.model_dump(mode="json")))
    assert plan_digest(view) != plan_digest(changed)


# -- the highest risk of each tool ------------------------------------------------------------------------------------

WORST = {
    "read_file": {"path": ".git/config"},
    "list_directory": {"path": ".github", "recursive": True},
    "search_context": {"query": "anything"},
    "remember": {"text": "anything"},
    "write_file": {"path": ".git/hooks/pre-commit", "content": ""},
    "execute_command": {"command": "sh"},
}
"""The most that each can carry out."""


def test_the_highest_risk_of_each_tool_is_that_of_the_worst_it_can_carry_out() -> None:
    names = {tool.name for tool in CATALOGUE}

    assert WORST.keys() == names
    assert {name: highest_risk(name) for name in names} == {n: get_risk_level(n, WORST[n]) for n in names}


def test_a_tool_that_is_not_known_counts_as_high() -> None:
    assert highest_risk("a_tool_of_tomorrow") is RiskLevel.HIGH
