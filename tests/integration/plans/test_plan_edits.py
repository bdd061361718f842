"""A yes to a plan with changes: other instructions, other agents, tasks that are dropped, and standing yeses."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from models.tenancy import Database
from orchestrator.plan_approvals import Approved
from orchestrator.plans.graph import PlanGraph
from orchestrator.viewing import plan_of
from settings import load_settings
from tests.integration.approvals.steps import ask, make_agent, write
from tests.integration.plans.planned import CHAIN, PlannedRun, planned
from tests.integration.plans.test_plan_approvals import approval, confirm, went_on
from tests.support.answers import error
from tests.support.api import ApiClient
from workspace.plans.view import PlanView

pytestmark = pytest.mark.stack

EDITS = {"drop": ["check"], "instructions": {"write": "Write it in one line."}, "agents": {"look": "other"}}


def approved_view(one: PlannedRun) -> PlanView:
    verdict = one.verdict()
    assert isinstance(verdict, Approved)
    return verdict.view


def refused(one: PlannedRun, **answer_with: Any) -> list[dict[str, Any]]:
    """Answer with changes that make no sense; returns what is told of them. The approval has to stay open."""
    approval_id = one.ask()
    answer = confirm(one, approval_id, **answer_with)
    body = error(answer, 422, "validation_error", more={"errors"} & answer.json().keys())
    now = approval(one, approval_id)
    assert (now["status"], now["answer"], one.verdict()) == ("pending", None, None)
    assert not went_on(one)
    assert not one.grants()
    mistakes: list[dict[str, Any]] = body.get("errors", [])
    for mistake in mistakes:
        assert set(mistake) == {"loc", "type", "msg"}
    return mistakes


def test_a_plan_runs_as_its_owner_changed_it(user: ApiClient, database: Database) -> None:
    other = user.make_agent("other")
    one = planned(user, database)
    approval_id = one.ask()
    answer = confirm(one, approval_id, edits=EDITS)

    assert answer.status_code == 200, answer.text
    view = approved_view(one)
    look, written = view.tasks
    assert (look.id, look.agent_name, str(look.agent_id)) == ("look", "other", other["id"])
    assert (written.id, written.instruction) == ("write", "Write it in one line.")
    assert written.depends_on == ("look",)  # what the dropped one depended on
    told = answer.json()["answer"]
    assert told["edits"] == EDITS
    assert told["bereft"] == ["write"]
    assert told["plan"] == view.model_dump(mode="json")
    assert approval(one, approval_id)["payload"]["plan"] == one.view.model_dump(mode="json")
    assert went_on(one)


def test_tasks_that_stay_keep_their_ids_in_the_order_of_the_plan(user: ApiClient, database: Database) -> None:
    graph = {**CHAIN, "more": ("look",), "all": ("write", "more")}
    one = planned(user, database, graph)
    confirm(one, one.ask(), edits={"drop": ["check", "more"]})
    view = approved_view(one)

    before = {task.id: task.task_id for task in one.view.tasks}
    ids = {task.id: task.task_id for task in view.tasks}
    assert view.plan_id == one.view.plan_id
    assert ids == {name: before[name] for name in ("look", "write", "all")}
    order = PlanGraph.of(plan_of(view)).order
    assert [ids[name] for name in order] == sorted(ids.values())


def test_a_changed_plan_is_estimated_anew(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    confirm(one, one.ask(), edits={"drop": ["check", "write"]})
    view = approved_view(one)

    assert view.critical_path == ("look",)
    assert view.estimated_duration != one.view.estimated_duration
    assert "check" not in view.mermaid


def test_no_changes_are_a_yes_to_the_plan_as_it_is(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    assert confirm(one, one.ask(), edits={}, grants=[]).status_code == 200

    assert approved_view(one) == one.view


def test_every_mistake_is_named_and_the_plan_still_waits(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    mistakes = refused(
        one,
        edits={
            "drop": ["nothing", "check"],
            "instructions": {"check": "x", "write": " "},
            "agents": {"look": "nobody"},
        },
        grants=[{"tool": "read_file", "patterns": {"path": "a"}}, {"tool": "write_file", "patterns": {"size": 1}}],
    )

    assert {mistake["type"] for mistake in mistakes} == {
        *("unknown_task", "dropped_task", "empty_text", "unknown_agent", "bad_grant")
    }
    assert {tuple(mistake["loc"]) for mistake in mistakes if mistake["type"] == "bad_grant"} == {
        *(("grants", 0), ("grants", 1))
    }


def test_not_all_tasks_can_be_dropped(user: ApiClient, database: Database) -> None:
    (mistake,) = refused(planned(user, database), edits={"drop": list(CHAIN)})

    assert mistake["type"] == "empty_plan"


@pytest.mark.parametrize(
    "body",
    [
        {"decision": "reject", "edits": {"drop": ["check"]}},
        {"decision": "reject", "grants": []},
        {"remember": {}},
        {"remember": {}, "edits": {}},
        {"edits": {"drop": ["check"], "add": []}},
        {"grants": [{"tool": "write_file"}]},
    ],
)
def test_what_does_not_belong_to_the_answer_is_refused(
    user: ApiClient, database: Database, body: dict[str, Any]
) -> None:
    refused(planned(user, database), **body)


def test_a_tool_call_takes_no_changes(user: ApiClient) -> None:
    make_agent(user)
    one = ask(user, write())

    for more in ({"edits": {}}, {"grants": []}):
        answer = user.post(f"approvals/{one.id}/confirm/", {"decision": "approve", **more})
        error(answer, 422, "validation_error")
        assert "tool call" in answer.json()["detail"]
    assert one.now()["status"] == "pending"


# -- grants -----------------------------------------------------------------------------------------------------------


def test_grants_come_with_the_yes_and_end_with_the_run(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    wanted = [
        {"tool": "write_file", "patterns": {"path": "src/**"}},
        {"tool": "write_file", "patterns": {"path": "docs/**", "mode": "*"}, "risk": "medium"},
    ]
    answer = confirm(one, one.ask(), grants=wanted)

    assert answer.status_code == 200, answer.text
    assert approved_view(one) == one.view
    high, medium = sorted(one.grants(), key=lambda grant: grant.risk)
    assert (high.tool, high.patterns, high.risk) == ("write_file", {"path": "src/**"}, "high")
    assert (medium.patterns, medium.risk) == ({"path": "docs/**", "mode": "*"}, "medium")
    for grant in (high, medium):
        assert (grant.run_id, grant.session_id) == (one.run_id, one.session_id)
        assert grant.expires_at == one.row.created_at + timedelta(seconds=load_settings().run_max_age)
    told = answer.json()["answer"]["grants"]
    assert {each["id"] for each in told} == {str(grant.id) for grant in (high, medium)}
    assert {datetime.fromisoformat(each["expires_at"]) for each in told} == {high.expires_at}
    assert {each["id"] for each in user.get("approvals/grants/").json()["items"]} == {each["id"] for each in told}


@pytest.mark.parametrize(
    ("grant", "detail"),
    [
        ({"tool": "execute_command", "patterns": {"command": "ls"}}, "No agent of the plan has"),
        ({"tool": "no_tool", "patterns": {}}, "No agent of the plan has"),
        ({"tool": "write_file", "patterns": {}}, "`path` has to be named"),
        ({"tool": "write_file", "patterns": {"path": "/etc/*"}}, "`path`: it is no path"),
        ({"tool": "write_file", "patterns": {"path": "a", "size": 1}}, "no such argument"),
        ({"tool": "write_file", "patterns": {"path": "a", "mode": 1}}, "of another type"),
        ({"tool": "write_file", "patterns": {"path": "a"}, "risk": "low"}, "covers nothing"),
    ],
)
def test_a_grant_that_can_cover_nothing_is_refused(
    user: ApiClient, database: Database, grant: dict[str, Any], detail: str
) -> None:
    (mistake,) = refused(planned(user, database), grants=[grant])

    assert detail in mistake["msg"]


def test_a_grant_is_only_for_tools_of_agents_that_are_left(user: ApiClient, database: Database) -> None:
    user.make_agent("other", tools=[])
    one = planned(user, database, {"look": ()})
    mistakes = refused(
        one, edits={"agents": {"look": "other"}}, grants=[{"tool": "write_file", "patterns": {"path": "a"}}]
    )

    assert [mistake["type"] for mistake in mistakes] == ["bad_grant"]
