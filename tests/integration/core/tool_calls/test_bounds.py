"""What a task's tools may still do, and how much they may answer, is asked at each call."""

import pytest

from models.statuses import RunStatus, ToolCallStatus
from tests.integration.core.tool_calls.lone_node import LoneNode
from workspace.errors import IdempotencyConflict
from workspace.files import WriteMode
from workspace.tools.toolbox import MOST_ANSWERED

pytestmark = pytest.mark.stack

SIZE = 1_000_000
READ = f'[tool=read_file {{"path": "big", "length": {SIZE}}}]'
FITTING = MOST_ANSWERED // SIZE + 1


def test_tools_answer_no_more_than_a_node_can_hold(lone: LoneNode) -> None:
    """Also not over several turns, nor when the task was parked in between."""
    files = lone.node._parts.direct_run._tools.executor._resources.files
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
