"""What a task's tools may still do, and how much they may answer, is asked at each call."""

from datetime import timedelta

import pytest

from models import ApprovalGrant, new_id, utc_now
from models.statuses import ApprovalStatus, Decision, RunStatus, ToolCallStatus
from tests.integration.core.tool_calls.lone_node import LoneNode
from workspace.approvals.grants import MOST_IN_FORCE, GrantScope, Remember
from workspace.approvals.requests import MOST_ASKED_IN_RUN, MOST_OPEN_IN_RUN
from workspace.errors import IdempotencyConflict, InvalidInput
from workspace.files import WriteMode
from workspace.tools.toolbox import MOST_ANSWERED

pytestmark = pytest.mark.stack

SIZE = 1_000_000
READ = f'[tool=read_file {{"path": "big", "length": {SIZE}}}]'
FITTING = MOST_ANSWERED // SIZE + 1


def test_tools_answer_no_more_than_a_node_can_hold(lone: LoneNode) -> None:
    """Also not over several turns, nor when the task was parked in between."""
    files = lone.node._parts.task_run._tools.executor._resources.files
    files.write(lone.world.key, "big", b"x" * SIZE, WriteMode.CREATE)
    asking = '[tool=write_file {"path": "a", "content": "x"}]'
    accepted = lone.answered(f"{READ * (FITTING - 1)}{asking}[then]{READ * 2}[then][say={{result.error.code}}]")
    (approval,) = lone.approvals()
    lone.start_anew()
    lone.decide(approval.id)
    lone.work()
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED
    reads = [call.status for call in lone.calls() if call.tool == "read_file"]
    assert reads == [*[ToolCallStatus.SUCCEEDED] * FITTING, ToolCallStatus.FAILED]
    assert lone.world.messages()[-1].content == "too_large"


def test_a_client_is_not_asked_for_a_tool_that_its_agent_lost_meanwhile(lone: LoneNode) -> None:
    lone.use_client()
    accepted = lone.answered('[tool=write_file {"path": "a", "content": "x"}][then][say={result.error.code}]')
    (approval,) = lone.approvals()
    lone.world.change_agent(config={"name": "helper", "tools": ["read_file"]})
    lone.node.cache.invalidate(lone.world.key, lone.world.agent_id)
    lone.decide(approval.id)
    lone.work()
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED
    assert lone.call().status is ToolCallStatus.FAILED
    assert lone.told("tool_request") == []


@pytest.mark.parametrize("number", [1e16, 1e23, -1.5e300, 5e-324, 0.1, -0.0])
def test_the_same_answer_counts_as_the_same_whatever_numbers_it_has(lone: LoneNode, number: float) -> None:
    lone.use_client()
    lone.answered('[tool=read_file {"path": "a"}][then][say=ok]')
    call = lone.answer(lone.call().id, {"numbers": [{"one": number}]})
    assert lone.answer(call.id, {"numbers": [{"one": number}]}).id == call.id
    with pytest.raises(IdempotencyConflict):
        lone.answer(call.id, {"numbers": [{"one": 7}]})


def writing(number: int) -> str:
    return f'[tool=write_file {{"path": "{number}", "content": "x"}}]'


def test_an_owner_is_not_buried_under_questions(lone: LoneNode) -> None:
    lone.answered("".join(map(writing, range(MOST_OPEN_IN_RUN + 5))))
    assert len(lone.approvals(ApprovalStatus.PENDING)) == MOST_OPEN_IN_RUN
    refused = [call for call in lone.calls() if call.status is ToolCallStatus.REJECTED]
    assert [call.result["error"]["code"] for call in refused if call.result] == ["asked_too_often"] * 5
    assert [call.arguments["path"] for call in refused] == [str(MOST_OPEN_IN_RUN + number) for number in range(5)]


def test_a_run_may_ask_so_much_and_no_more_however_fast_its_owner_answers(lone: LoneNode) -> None:
    turns = -(-MOST_ASKED_IN_RUN // 30) + 1
    steps = ["".join(map(writing, range(turn * 30, turn * 30 + 30))) for turn in range(turns)]
    accepted = lone.answered("[then]".join([*steps, "[say=done]"]))
    for _ in range(turns):
        for approval in lone.approvals(ApprovalStatus.PENDING):
            lone.decide(approval.id)
        lone.work()
    assert lone.world.run(accepted.run_id).status is RunStatus.COMPLETED
    assert len(lone.approvals()) == MOST_ASKED_IN_RUN


def test_a_project_has_so_many_grants_in_force_and_no_more(lone: LoneNode) -> None:
    key = lone.world.key
    old = {"user_id": key.user_id, "project_id": key.project_id, "tool": "write_file", "risk": "high"}
    later, before = utc_now() + timedelta(hours=1), utc_now() - timedelta(hours=1)
    lone.world.add(*(ApprovalGrant(id=new_id(), expires_at=later, **old) for _ in range(MOST_IN_FORCE - 1)))
    lone.world.add(ApprovalGrant(id=new_id(), expires_at=before, **old))
    lone.answered(f"{writing(1)}{writing(2)}")
    first, second = lone.approvals()
    approvals = lone.web.approvals
    remember = Remember(GrantScope.PROJECT, None, 60)
    approvals.confirm(key, first.id, Decision.APPROVE, remember=remember)
    with pytest.raises(InvalidInput):
        approvals.confirm(key, second.id, Decision.APPROVE, remember=remember)
    assert [approval.id for approval in lone.approvals(ApprovalStatus.PENDING)] == [second.id]
