"""A run with a plan as its owner reads it: the graph, its tasks with their results, and what it waits for."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from models import ApprovalRequest, Task, ToolCall, new_id, utc_now
from models.statuses import ApprovalType, HeldReason, RunStatus, TaskStatus, ToolCallStatus, ToolExecution
from models.tenancy import Database
from tests.integration.plans.planned import CHAIN, PlannedRun, add, ended, planned
from tests.support.api import ApiClient
from workspace.names import CLOSING_ID, PLANNING_ID

pytestmark = pytest.mark.stack

WIDE = {"look": (), "read": (), "write": ("look", "read")}
DONE, RUNNING, PENDING = TaskStatus.COMPLETED, TaskStatus.RUNNING, TaskStatus.PENDING


def at_work(user: ApiClient, database: Database, statuses: Mapping[str, TaskStatus]) -> PlannedRun:
    """Return a run of three tasks whose plan is at work."""
    one = planned(user, database, WIDE)
    ended(one, RunStatus.RUNNING, statuses)
    return one


def read(one: PlannedRun) -> dict[str, Any]:
    return one.user.run(str(one.run_id))


def change(one: PlannedRun, name: str, **values: Any) -> None:
    with one.database.system_session("a test changes rows") as session:
        session.execute(update(Task).where(Task.run_id == one.run_id, Task.plan_task_id == name).values(**values))
        session.commit()


def test_a_run_has_its_plan_and_its_tasks_with_their_place_in_it(user: ApiClient, database: Database) -> None:
    one = at_work(user, database, {"look": DONE, "read": RUNNING, "write": PENDING})
    run = read(one)

    assert run["plan"] == one.view.model_dump(mode="json")
    assert (run["mode"], run["status"], run["outcome"], run["retry_of"]) == ("orchestrated", "running", None, None)
    tasks = {task["plan_task_id"]: task for task in run["tasks"]}
    assert set(tasks) == {PLANNING_ID, *WIDE, CLOSING_ID}
    assert (tasks["look"]["status"], tasks["look"]["result"]) == ("completed", "Result of look.")
    assert (tasks["write"]["depends_on"], tasks["write"]["instruction"]) == (["look", "read"], "Do write.")
    assert tasks["write"]["result"] is None
    assert (tasks[PLANNING_ID]["agent_name"], tasks[PLANNING_ID]["agent_id"]) == ("@orchestrator", None)


def test_its_picture_shows_how_the_tasks_stand(user: ApiClient, database: Database) -> None:
    run = read(at_work(user, database, {"look": DONE, "read": RUNNING, "write": PENDING}))

    assert "class n0 completed" in run["mermaid"]
    assert "class n1 running" in run["mermaid"]
    assert "class n2" not in run["mermaid"]


def test_a_direct_run_has_no_plan(user: ApiClient) -> None:
    user.make_agent()
    run = user.run(user.answered(user.make_session()["id"], "[say=yes] hello")["run_id"])

    assert (run["plan"], run["mermaid"], run["outcome"]) == (None, None, None)
    (task,) = run["tasks"]
    assert (task["plan_task_id"], task["depends_on"], task["instruction"]) == (None, [], None)


def test_the_list_of_runs_says_how_each_is_answered(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    (run,) = user.get(f"chat/{one.session_id}/runs/").json()["items"]

    assert (run["mode"], run["status"], run["retry_of"]) == ("orchestrated", "waiting", None)


# -- why it waits -----------------------------------------------------------------------------------------------------


def test_while_it_is_planned_it_says_so(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    change(one, PLANNING_ID, status=RUNNING)

    assert read(one)["why"]["code"] == "planning"


def test_what_its_owner_can_do_something_about_comes_first(user: ApiClient, database: Database) -> None:
    one = at_work(user, database, {"look": TaskStatus.WAITING, "read": RUNNING, "write": PENDING})
    call = tool_call(one, "look", ToolCallStatus.RUNNING, ToolExecution.CLIENT)
    why = read(one)["why"]
    assert (why["code"], why["tool_call_ids"]) == ("client_tool", [str(call)])

    change(one, "read", status=TaskStatus.WAITING)
    approval = question(one, "read")
    why = read(one)["why"]
    assert (why["code"], why["approval_ids"], why["tool_call_ids"]) == ("approval", [str(approval)], [str(call)])
    assert why["detail"] == "Agent helper waits for your answer to 1 of its questions."


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": TaskStatus.HELD, "held_reason": HeldReason.USER_CAP}, "user_cap"),
        ({"status": RUNNING}, "model"),
        ({"status": PENDING}, "model"),
    ],
)
def test_what_is_held_back_explains_more_than_what_is_at_work(
    user: ApiClient, database: Database, changes: dict[str, Any], code: str
) -> None:
    one = at_work(user, database, {"look": RUNNING, "read": PENDING, "write": PENDING})
    change(one, "read", **changes)

    assert read(one)["why"]["code"] == code


def test_a_step_that_is_on_its_way_says_what_it_waits_for(user: ApiClient, database: Database) -> None:
    one = at_work(user, database, {"look": DONE, "read": DONE, "write": PENDING})
    why = read(one)["why"]

    assert (why["code"], why["detail"]) == ("dependencies", "Task write is about to begin.")


def test_a_run_that_has_ended_waits_for_nothing(user: ApiClient, database: Database) -> None:
    one = planned(user, database)
    ended(one, RunStatus.PARTIAL, {"look": DONE, "check": TaskStatus.FAILED, "write": TaskStatus.SKIPPED})

    assert set(CHAIN) < {task["plan_task_id"] for task in read(one)["tasks"]}
    assert read(one)["why"] is None


def tool_call(one: PlannedRun, name: str, status: ToolCallStatus, execution: ToolExecution) -> UUID:
    made = ToolCall(
        id=new_id(),
        user_id=one.key.user_id,
        project_id=one.key.project_id,
        session_id=one.session_id,
        run_id=one.run_id,
        task_id=one.task(name).id,
        turn=0,
        position=0,
        agent_name="helper",
        call_id="call",
        tool="write_file",
        arguments={"path": "a", "content": "x"},
        digest="0" * 64,
        risk="medium",
        execution=execution,
        status=status,
    )
    add(one.database, made)
    return made.id


def question(one: PlannedRun, name: str) -> UUID:
    call = tool_call(one, name, ToolCallStatus.AWAITING_APPROVAL, ToolExecution.SERVER)
    made = ApprovalRequest(
        id=new_id(),
        user_id=one.key.user_id,
        project_id=one.key.project_id,
        session_id=one.session_id,
        run_id=one.run_id,
        task_id=one.task(name).id,
        tool_call_id=call,
        type=ApprovalType.TOOL,
        payload={},
        digest="0" * 64,
        timeout=300,
        expires_at=utc_now().replace(year=utc_now().year + 1),
    )
    add(one.database, made)
    return made.id
